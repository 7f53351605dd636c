// SuperGLUE's files (super.gluebenchmark.com, one JSON object per line) as items: BoolQ, RTE, WSC, WiC, COPA, MultiRC.
#include <utility>

#include "data/published_tasks.h"
#include "data/task_record.h"
#include "data/unicode.h"

namespace sluice::data {
namespace {

using Json = nlohmann::ordered_json;

const Json kNoYes = {"no", "yes"};

void add_item(const ItemSink& add, const std::string& id, const std::string& context, const Json& choices,
              std::size_t answer) {
  Json item;
  if (!id.empty()) item["id"] = id;
  item["context"] = context;
  item["choices"] = choices;
  item["answer"] = answer;
  add(std::move(item));
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = char_length(text, at);
    if (!is_white_space(char_at(text, at))) {
      word += text.substr(at, size);
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, {}));
    }
    at += size;
  }
  if (!word.empty()) words.push_back(word);
  return words;
}

// The passages are tokenised: blanks stand before punctuation and inside quotes.
std::string detokenised(std::string text) {
  constexpr std::pair<std::string_view, std::string_view> kJoined[] = {
      {" n't", "n't"}, {" )", ")"}, {"( ", "("}, {"\" ", "\""}, {" \"", "\""}};
  for (const auto& [from, to] : kJoined) text = replace_all(std::move(text), from, to);
  std::string joined;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool before_mark = i + 1 < text.size() && (text[i + 1] == '\'' || text[i + 1] == '.' || text[i + 1] == ',');
    if (text[i] != ' ' || !before_mark) joined += text[i];
  }
  return joined;
}

}  // namespace

void convert_boolq(std::string_view line, const std::string& where, const ItemSink& add) {
  const TaskRecord record(line, where);
  const char* key = record.has("answer") ? "answer" : "label";  // Google's files say answer
  add_item(add, record.id("idx"),
           record.text("passage") + "\nQuestion: " + record.text("question") + "?\nAnswer:", kNoYes,
           record.label(key, 2));
}

void convert_rte(std::string_view line, const std::string& where, const ItemSink& add) {
  const TaskRecord record(line, where);
  const std::string label = record.id("label");
  std::size_t answer = 0;
  if (label == "not_entailment") {
    answer = 1;
  } else if (label != "entailment") {
    record.refuse("\"label\" to be entailment or not_entailment");
  }
  add_item(add, record.id("idx"),
           record.text("premise") + "\nQuestion: " + record.text("hypothesis") + " True or False?\nAnswer:",
           {"True", "False"}, answer);
}

// The pronoun is found by its place among the words and put between stars.
void convert_wsc(std::string_view line, const std::string& where, const ItemSink& add) {
  const TaskRecord record(line, where);
  const TaskRecord target = record.has("target") ? record.object("target") : record;
  const std::string text = record.text("text"), noun = target.text("span1_text"), pronoun = target.text("span2_text");
  const std::int64_t place = target.integer("span2_index");
  const std::vector<std::string> words = words_of(text);
  if (place < 0 || place >= static_cast<std::int64_t>(words.size()))
    record.refuse("\"span2_index\" to be the place of a word of \"text\"");
  std::string before;
  for (std::int64_t i = 0; i < place; ++i) before += words[static_cast<std::size_t>(i)] + " ";
  const auto characters = [](std::string_view part) {
    std::size_t count = 0;
    for (std::size_t at = 0; at < part.size(); at += char_length(part, at)) ++count;
    return count;
  };
  const std::string after = slice_characters(text, characters(before) + characters(pronoun));
  const std::string passage = detokenised(before + "*" + pronoun + "*" + after);
  add_item(add, record.id("idx"),
           "Passage: " + passage + "\nQuestion: In the passage above, does the pronoun \"*" + pronoun +
               "*\" refer to \"*" + noun + "*\"?\nAnswer:",
           kNoYes, record.label("label", 2));
}

void convert_wic(std::string_view line, const std::string& where, const ItemSink& add) {
  const TaskRecord record(line, where);
  const std::string first = record.text("sentence1");
  const std::int64_t begin = record.integer("start1"), end = record.integer("end1");
  if (begin < 0 || end <= begin) record.refuse("\"start1\" and \"end1\" to be where the word stands in \"sentence1\"");
  const std::string word = slice_characters(first, static_cast<std::size_t>(begin), static_cast<std::size_t>(end));
  add_item(add, record.id("idx"),
           "Sentence 1: " + first + "\nSentence 2: " + record.text("sentence2") + "\nQuestion: Is the word '" + word +
               "' used in the same way in the two sentences above?\nAnswer:",
           kNoYes, record.label("label", 2));
}

// The premise loses its last character, its full stop; a choice goes on in lower case.
void convert_copa(std::string_view line, const std::string& where, const ItemSink& add) {
  const TaskRecord record(line, where);
  const std::string question = record.text("question");
  if (question != "cause" && question != "effect") record.refuse("\"question\" to be cause or effect");
  const std::string premise = strip(record.text("premise"));
  const auto lowered = [&](const char* key) {
    const std::string choice = record.text(key);
    return lowercase(slice_characters(choice, 0, 1)) + slice_characters(choice, 1);
  };
  std::size_t last = premise.size();
  while (last > 0 && (static_cast<unsigned char>(premise[last - 1]) & 0xC0U) == 0x80U) --last;
  add_item(add, record.id("idx"),
           premise.substr(0, last > 0 ? last - 1 : 0) + (question == "cause" ? " because" : " therefore"),
           {lowered("choice1"), lowered("choice2")}, record.label("label", 2));
}

// A passage has questions, a question has answers, and each answer is an item.
void convert_multirc(std::string_view line, const std::string& where, const ItemSink& add) {
  const TaskRecord record(line, where);
  const TaskRecord passage = record.object("passage");
  const std::string text = passage.text("text");
  for (const TaskRecord& question : passage.objects("questions")) {
    const std::string context = text + "\nQuestion: " + question.text("question") + "\nAnswer:";
    for (const TaskRecord& answer : question.objects("answers")) {
      const std::string given = answer.text("text") + "\nIs the answer correct? ";
      add_item(add, record.id("idx") + "-" + question.id("idx") + "-" + answer.id("idx"), context,
               {given + "no", given + "yes"}, answer.label("label", 2));
    }
  }
}

}  // namespace sluice::data
