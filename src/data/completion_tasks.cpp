// Tasks whose choices complete a text, from the files that their authors publish: HellaSwag, ARC, LAMBADA.
#include <algorithm>
#include <cctype>
#include <utility>

#include "data/published_tasks.h"
#include "data/task_record.h"
#include "data/unicode.h"

namespace sluice::data {
namespace {

using Json = nlohmann::ordered_json;

// Texts from WikiHow carry titles and marks in brackets.
std::string without_marks(std::string_view text) {
  const std::string titled = replace_all(strip(text), " [title]", ". ");
  std::string plain;
  for (std::size_t at = 0; at < titled.size(); ++at) {
    const std::size_t close = titled[at] == '[' ? titled.find_first_of("]\n", at) : std::string::npos;
    if (close != std::string::npos && titled[close] == ']') {
      at = close;
    } else {
      plain += titled[at];
    }
  }
  std::string single;
  for (std::size_t at = 0; at < plain.size(); ++at) {
    single += plain[at];
    if (plain[at] == ' ' && at + 1 < plain.size() && plain[at + 1] == ' ') ++at;
  }
  return single;
}

// As Python's str.capitalize, for a first letter of ASCII.
std::string capitalised(std::string_view text) {
  std::string result = lowercase(text);
  if (!result.empty() && static_cast<unsigned char>(result[0]) < 0x80U)
    result[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(result[0])));
  return result;
}

}  // namespace

void convert_hellaswag(std::string_view line, const std::string& where, const ItemSink& add) {
  const TaskRecord record(line, where);
  Json choices = Json::array();
  for (const std::string& ending : record.texts("endings")) choices.push_back(without_marks(ending));
  if (choices.size() < 2) record.refuse("\"endings\" to be two texts or more");
  const std::string context =
      record.text("activity_label") + ": " + record.text("ctx_a") + " " + capitalised(record.text("ctx_b"));
  add({{"id", record.id("ind")},
       {"context", without_marks(context)},
       {"choices", choices},
       {"answer", record.label("label", choices.size())}});
}

void convert_arc(std::string_view line, const std::string& where, const ItemSink& add) {
  const TaskRecord record(line, where);
  const TaskRecord question = record.object("question");
  const std::string key = record.id("answerKey");
  Json choices = Json::array();
  std::size_t answer = 0;
  bool found = false;
  for (const TaskRecord& choice : question.objects("choices")) {
    if (choice.id("label") == key) {
      answer = choices.size();
      found = true;
    }
    choices.push_back(choice.text("text"));
  }
  if (!found) record.refuse("\"answerKey\" to be the label of a choice");
  add({{"id", record.id("id")},
       {"context", "Question: " + question.text("stem") + "\nAnswer:"},
       {"choices", choices},
       {"answer", answer}});
}

// What follows the last space is the target.
void convert_lambada(std::string_view line, const std::string& where, const ItemSink& add) {
  const std::size_t first = line.find_first_not_of(" \t");
  const bool is_json = first != std::string_view::npos && line[first] == '{';
  std::string text;
  if (is_json) {
    text = TaskRecord(line, where).text("text");
  } else {
    require_utf8(line, where);
    text = strip(line);
  }
  const std::size_t space = text.rfind(' ');
  if (space == std::string::npos || space + 1 == text.size())
    TaskRecord("{}", where).refuse("a text of several words that does not end in a space");
  add({{"context", text.substr(0, space)}, {"target", text.substr(space + 1)}});
}

}  // namespace sluice::data
