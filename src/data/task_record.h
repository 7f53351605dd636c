// Typed access to one record of a published task: what is missing or of another type is an error that names line and
// key. Also what its texts need: Python counts and cuts in characters.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::data {

class TaskRecord {
 public:
  /// Parses a line; `where` names it in messages and is borrowed, as `what` by parts.
  TaskRecord(std::string_view line, const std::string& where);

  [[nodiscard]] std::string text(const char* key) const;
  [[nodiscard]] std::int64_t integer(const char* key) const;
  /// The index of the right answer: false and true, or a number below `count`, also written as text.
  [[nodiscard]] std::size_t label(const char* key, std::size_t count) const;
  [[nodiscard]] std::vector<std::string> texts(const char* key) const;
  [[nodiscard]] TaskRecord object(const char* key) const;
  [[nodiscard]] std::vector<TaskRecord> objects(const char* key) const;
  [[nodiscard]] bool has(const char* key) const { return json_.contains(key); }
  /// A number or text that names the record, or `absent`.
  [[nodiscard]] std::string id(const char* key, const std::string& absent = {}) const;
  [[noreturn]] void refuse(const std::string& expected) const;

 private:
  TaskRecord(const std::string& where, nlohmann::json part) : json_(std::move(part)), where_(where) {}
  [[nodiscard]] const nlohmann::json& at(const char* key) const;

  nlohmann::json json_;
  std::string where_;
};

/// Characters `first` up to, not including, `last` of well-formed UTF-8, as Python's text[first:last] for 0 <= first.
std::string slice_characters(std::string_view text, std::size_t first, std::size_t last = std::string_view::npos);

std::string replace_all(std::string text, std::string_view from, std::string_view to);

/// Without white space at both ends.
std::string strip(std::string_view text);

}  // namespace sluice::data
