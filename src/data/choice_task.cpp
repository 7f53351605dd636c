#include "data/choice_task.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/random.h"
#include "data/records.h"
#include "data/unicode.h"

namespace sluice::data {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// One record and where it stands, for messages.
struct Record {
  const Json& json;
  const std::string where;

  [[noreturn]] void refuse(const std::string& expected, const Json& got = Json::value_t::discarded) const {
    std::string shown = got.is_discarded() ? "" : got.dump(-1, ' ', true);
    if (shown.size() > 60) shown = shown.substr(0, 60) + "...";
    throw FormatError("data.tasks", where + " is no item to score",
                      "expected " + expected + (shown.empty() ? "" : ", got " + shown), "see docs/evaluation.md");
  }

  [[nodiscard]] const Json& at(const char* key, const std::string& expected) const {
    const auto found = json.find(key);
    if (found == json.end()) refuse("the key \"" + std::string(key) + "\" with " + expected);
    return *found;
  }

  [[nodiscard]] std::string text(const char* key) const {
    const Json& value = at(key, "a text");
    if (!value.is_string()) refuse("\"" + std::string(key) + "\" to be a text", value);
    return value.get<std::string>();
  }
};

bool begins_with_space(std::string_view text) { return !text.empty() && is_white_space(char_at(text, 0)); }

bool ends_with_space(std::string_view text) {
  std::size_t last = text.size();
  while (last > 0 && (static_cast<unsigned char>(text[last - 1]) & 0xC0U) == 0x80U) --last;
  return last > 0 && is_white_space(char_at(text, last - 1));
}

std::vector<std::string> read_choices(const Record& record) {
  const Json& list = record.at("choices", "a list of texts (or \"target\" with one text)");
  if (!list.is_array() || list.size() < 2) record.refuse("\"choices\" to be a list of two texts or more", list);
  std::vector<std::string> choices;
  for (const Json& choice : list) {
    if (!choice.is_string() || choice.get_ref<const std::string&>().empty())
      record.refuse("every choice to be a text that is not empty", choice);
    choices.push_back(choice.get<std::string>());
  }
  return choices;
}

std::size_t read_answer(const Record& record, const std::vector<std::string>& choices) {
  const std::string expected =
      "\"answer\" to be an index from 0 to " + std::to_string(choices.size() - 1) + " or the text of a choice";
  const Json& answer = record.at("answer", "the index of the right choice");
  if (answer.is_string()) {
    const auto found = std::ranges::find(choices, answer.get_ref<const std::string&>());
    if (found == choices.end()) record.refuse(expected, answer);
    return static_cast<std::size_t>(found - choices.begin());
  }
  if (!answer.is_number_integer() || answer < 0 || answer >= choices.size()) record.refuse(expected, answer);
  return answer.get<std::size_t>();
}

ChoiceItem read_item(const Record& record, std::int64_t number) {
  if (!record.json.is_object()) record.refuse("a JSON object");
  ChoiceItem item;
  const auto id = record.json.find("id");
  item.id = id == record.json.end() ? std::to_string(number) : id->is_string() ? id->get<std::string>() : id->dump();
  item.context = record.text("context");
  if (record.json.contains("target")) {
    item.choices = {record.text("target")};
    if (item.choices[0].empty()) record.refuse("\"target\" to be a text that is not empty");
  } else {
    item.choices = read_choices(record);
    item.answer = read_answer(record, item.choices);
  }
  if (record.json.contains("delimiter")) {
    item.delimiter = record.text("delimiter");
  } else {
    const bool spaced =
        item.context.empty() || ends_with_space(item.context) || std::ranges::any_of(item.choices, begins_with_space);
    item.delimiter = spaced ? "" : " ";
  }
  return item;
}

bool same_item(const ChoiceItem& a, const ChoiceItem& b) { return a.context == b.context && a.choices == b.choices; }

}  // namespace

ChoiceTask read_choice_task(const fs::path& file, std::optional<std::int64_t> limit) {
  ChoiceTask task;
  task.name = file.stem().string();
  for_each_record(file, [&](std::string_view text, std::int64_t number) {
    if (limit && static_cast<std::int64_t>(task.items.size()) >= *limit) return;
    const Json json = Json::parse(text, nullptr, false);
    const Record record{json, file.string() + ", record " + std::to_string(number)};
    if (json.is_discarded()) record.refuse("a JSON object");
    task.items.push_back(read_item(record, number));
    const bool greedy = json.contains("target");
    if (task.items.size() == 1) task.greedy = greedy;
    if (greedy != task.greedy) record.refuse("\"target\" in every item of a file or in none");
  });
  if (task.items.empty()) throw FormatError("data.tasks", file.string() + " holds no items", "expected at least one");
  return task;
}

std::string few_shot_prefix(const FewShot& few_shot, const ChoiceItem& item, std::size_t number) {
  const std::vector<ChoiceItem>& all = few_shot.examples->items;
  const auto wanted = static_cast<std::size_t>(few_shot.count);
  std::vector<std::size_t> drawn;
  std::vector<char> seen(all.size(), 0);
  std::size_t left = all.size();
  std::string prefix;
  for (std::uint64_t draw = 0; drawn.size() < wanted && left > 0; ++draw) {
    const auto index = static_cast<std::size_t>(below({few_shot.seed, mix(0xFE35407, number)}, draw, all.size()));
    if (seen[index]) continue;
    seen[index] = 1;
    left -= 1;
    if (same_item(all[index], item)) continue;
    drawn.push_back(index);
    prefix += all[index].context + all[index].continuation(all[index].answer) + "\n\n";
  }
  if (drawn.size() < wanted)
    throw ConfigError("data.tasks", "there are too few examples",
                      "expected " + std::to_string(wanted) + " beside the item itself, got " +
                          std::to_string(drawn.size()) + " in " + few_shot.examples->name,
                      "lower --few-shot");
  return prefix;
}

std::int64_t num_characters(std::string_view utf8) {
  return std::ranges::count_if(utf8, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
}

}  // namespace sluice::data
