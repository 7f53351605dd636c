#include "data/task_record.h"

#include "base/error.h"
#include "data/unicode.h"

namespace sluice::data {
namespace {

std::string quoted(const char* key) { return "\"" + std::string(key) + "\""; }

}  // namespace

TaskRecord::TaskRecord(std::string_view line, const std::string& where)
    : json_(nlohmann::json::parse(line, nullptr, false)), where_(where) {
  if (!json_.is_object()) refuse("a JSON object");
}

void TaskRecord::refuse(const std::string& expected) const {
  throw FormatError("data.tasks", where_ + " is not as the task's files are", "expected " + expected,
                    "see docs/evaluation.md for the files that are read");
}

const nlohmann::json& TaskRecord::at(const char* key) const {
  const auto found = json_.find(key);
  if (found == json_.end()) refuse("the key " + quoted(key));
  return *found;
}

std::string TaskRecord::text(const char* key) const {
  if (!at(key).is_string()) refuse(quoted(key) + " to be a text");
  return at(key).get<std::string>();
}

std::int64_t TaskRecord::integer(const char* key) const {
  if (!at(key).is_number_integer()) refuse(quoted(key) + " to be an integer");
  return at(key).get<std::int64_t>();
}

std::size_t TaskRecord::label(const char* key, std::size_t count) const {
  if (!has(key)) refuse(quoted(key) + " (files without answers, such as SuperGLUE's test.jsonl, cannot be scored)");
  const nlohmann::json& value = at(key);
  if (value.is_boolean() && count == 2) return value.get<bool>() ? 1 : 0;
  const std::string digits = value.is_string() ? value.get<std::string>() : value.dump();
  for (std::size_t index = 0; index < count; ++index) {
    if (digits == std::to_string(index)) return index;
  }
  refuse(quoted(key) + " to be " + (count == 2 ? "true, false or " : "") + "a number from 0 to " +
         std::to_string(count - 1));
}

std::vector<std::string> TaskRecord::texts(const char* key) const {
  std::vector<std::string> result;
  if (!at(key).is_array()) refuse(quoted(key) + " to be a list of texts");
  for (const auto& value : at(key)) {
    if (!value.is_string()) refuse(quoted(key) + " to be a list of texts");
    result.push_back(value.get<std::string>());
  }
  return result;
}

TaskRecord TaskRecord::object(const char* key) const {
  if (!at(key).is_object()) refuse(quoted(key) + " to be an object");
  return {where_, at(key)};
}

std::vector<TaskRecord> TaskRecord::objects(const char* key) const {
  std::vector<TaskRecord> result;
  if (!at(key).is_array()) refuse(quoted(key) + " to be a list of objects");
  for (const auto& value : at(key)) {
    if (!value.is_object()) refuse(quoted(key) + " to be a list of objects");
    result.push_back(TaskRecord(where_, value));
  }
  return result;
}

std::string TaskRecord::id(const char* key, const std::string& absent) const {
  const auto found = json_.find(key);
  if (found == json_.end() || found->is_structured()) return absent;
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::string slice_characters(std::string_view text, std::size_t first, std::size_t last) {
  std::size_t begin = text.size(), at = 0, number = 0;
  for (; at < text.size() && number < last; at += char_length(text, at), ++number) {
    if (number == first) begin = at;
  }
  return begin < at ? std::string(text.substr(begin, at - begin)) : std::string();
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

std::string strip(std::string_view text) {
  std::size_t first = 0, last = 0;
  while (first < text.size() && is_white_space(char_at(text, first))) first += char_length(text, first);
  for (std::size_t at = first; at < text.size();) {
    const bool space = is_white_space(char_at(text, at));
    at += char_length(text, at);
    if (!space) last = at;
  }
  return last > first ? std::string(text.substr(first, last - first)) : std::string();
}

}  // namespace sluice::data
