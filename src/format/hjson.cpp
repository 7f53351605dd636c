#include "format/hjson.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/error.h"
#include "format/quote.h"

namespace sluice::format {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kBlanks = " \t\r";
constexpr std::string_view kPunctuation = ",:[]{}";

class Parser {
 public:
  Parser(std::string_view text, std::string_view origin, int max_depth)
      : text_(text), origin_(origin), max_depth_(max_depth) {}

  Json run() {
    skip_space();
    Json object;
    if (next() == '[') fail("an object", "a list");
    if (next() == '{') {
      object = value();
    } else {
      object = members('\0');
    }
    skip_space();
    if (at_ < text_.size()) fail("the end", "more text");
    return object;
  }

 private:
  [[nodiscard]] char next(std::size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }

  [[noreturn]] void fail(const std::string& expected, const std::string& got) const {
    const auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at_), '\n');
    throw FormatError("format.hjson", "cannot parse " + std::string(origin_),
                      "expected " + expected + " in line " + std::to_string(line) + ", got " + got);
  }

  [[nodiscard]] std::string shown() const {
    if (at_ >= text_.size()) return "the end of the file";
    return quote(text_.substr(at_, std::min(text_.find('\n', at_), text_.size()) - at_).substr(0, 40));
  }

  [[nodiscard]] bool starts_comment(std::size_t at) const {
    return text_[at] == '#' ||
           (text_[at] == '/' && at + 1 < text_.size() && (text_[at + 1] == '/' || text_[at + 1] == '*'));
  }

  void skip_space() {
    while (at_ < text_.size()) {
      if (text_[at_] == '\n' || kBlanks.find(text_[at_]) != std::string_view::npos) {
        ++at_;
      } else if (!starts_comment(at_)) {
        return;
      } else if (text_[at_] == '/' && text_[at_ + 1] == '*') {
        const std::size_t end = text_.find("*/", at_ + 2);
        if (end == std::string_view::npos) fail("the comment to end", "the end of the file");
        at_ = end + 2;
      } else {
        at_ = std::min(text_.find('\n', at_), text_.size());
      }
    }
  }

  // A comma, or the line break that stands for one.
  void skip_separator() {
    skip_space();
    if (next() != ',') return;
    ++at_;
    skip_space();
  }

  // Up to `end`; '\0': the end of the text.
  Json members(char end) {
    Json object = Json::object();
    enter();
    for (skip_space(); next() != end; skip_separator()) {
      if (at_ >= text_.size()) fail("'}'", "the end of the file");
      const std::string name = key();
      skip_space();
      if (next() != ':') fail("':' behind the key " + quote(name), shown());
      ++at_;
      if (object.contains(name)) fail("each key once", quote(name) + " again");
      object[name] = value();
    }
    --depth_;
    return object;
  }

  Json elements() {
    Json list = Json::array();
    enter();
    for (skip_space(); next() != ']'; skip_separator()) {
      if (at_ >= text_.size()) fail("']'", "the end of the file");
      list.push_back(value());
    }
    --depth_;
    return list;
  }

  void enter() {
    if (++depth_ > max_depth_) fail("at most " + std::to_string(max_depth_) + " levels", "more");
  }

  std::string key() {
    if (next() == '"' || next() == '\'') return quoted();
    const std::size_t begin = at_;
    while (at_ < text_.size() && static_cast<unsigned char>(text_[at_]) > ' ' &&
           kPunctuation.find(text_[at_]) == std::string_view::npos)
      ++at_;
    if (at_ == begin) fail("a key", shown());
    return std::string(text_.substr(begin, at_ - begin));
  }

  Json value() {
    skip_space();
    switch (next()) {
      case '{': {
        ++at_;
        Json object = members('}');
        ++at_;
        return object;
      }
      case '[': {
        ++at_;
        Json list = elements();
        ++at_;
        return list;
      }
      case '"':
        return quoted();
      case '\'':
        return text_.substr(at_, 3) == "'''" ? several_lines() : Json(quoted());
      default:
        return bare();
    }
  }

  // The text of a JSON string in either kind of quotes.
  std::string quoted() {
    const char mark = text_[at_];
    std::string json = "\"";
    const std::size_t begin = at_++;
    for (; next() != mark; ++at_) {
      if (at_ >= text_.size() || next() == '\n') {
        at_ = begin;
        fail("the quotes to be closed", shown());
      }
      if (next() == '\\' && at_ + 1 < text_.size()) {
        if (next(1) != '\'') json += '\\';
        json += text_[++at_];
      } else {
        if (next() == '"') json += '\\';
        json += next();
      }
    }
    ++at_;
    const Json parsed = Json::parse(json + "\"", nullptr, false);
    if (parsed.is_discarded()) fail("a text in quotes", quote(json.substr(1, 40)));
    return parsed.get<std::string>();
  }

  // '''...''': without the first and the last line break and the column of the quotes in front of each line.
  Json several_lines() {
    const std::size_t line = text_.rfind('\n', at_);
    const std::size_t indent = at_ - (line == std::string_view::npos ? 0 : line + 1);
    const std::size_t end = text_.find("'''", at_ + 3);
    if (end == std::string_view::npos) fail("the quotes to be closed", shown());
    std::string_view rest = text_.substr(at_ + 3, end - at_ - 3);
    at_ = end + 3;
    if (const std::size_t first = rest.find_first_not_of(kBlanks); first < rest.size() && rest[first] == '\n')
      rest.remove_prefix(first);
    std::string text;
    for (const char c : rest) {
      if (c == '\r') continue;
      text += c;
    }
    std::string result;
    for (std::size_t begin = 0; begin <= text.size();) {
      const std::size_t stop = std::min(text.find('\n', begin), text.size());
      std::size_t from = begin;
      while (begin > 0 && from < stop && from - begin < indent && (text[from] == ' ' || text[from] == '\t')) ++from;
      result += (begin == 0 ? "" : "\n") + text.substr(from, stop - from);
      begin = stop + 1;
    }
    if (result.starts_with('\n')) result.erase(0, 1);
    if (result.ends_with('\n')) result.pop_back();
    return result;
  }

  // A number, true, false, null; anything else is a text up to the end of the line.
  Json bare() {
    const std::size_t begin = at_;
    const std::size_t line_end = std::min(text_.find('\n', at_), text_.size());
    if (at_ >= text_.size() || kPunctuation.find(next()) != std::string_view::npos) fail("a value", shown());
    std::size_t stop = begin;
    while (stop < line_end && text_[stop] != ',' && text_[stop] != '}' && text_[stop] != ']' && !starts_comment(stop))
      ++stop;
    if (const std::optional<Json> literal = as_literal(trimmed(begin, stop))) {
      at_ = stop;
      return *literal;
    }
    at_ = line_end;
    return std::string(trimmed(begin, line_end));
  }

  [[nodiscard]] std::string_view trimmed(std::size_t begin, std::size_t end) const {
    std::string_view part = text_.substr(begin, end - begin);
    part.remove_suffix(part.size() - (part.find_last_not_of(kBlanks) + 1));
    return part;
  }

  static std::optional<Json> as_literal(std::string_view word) {
    Json parsed = Json::parse(word, nullptr, false);
    if (parsed.is_discarded() || parsed.is_string() || parsed.is_structured()) return std::nullopt;
    return parsed;
  }

  std::string_view text_, origin_;
  int max_depth_;
  int depth_ = 0;
  std::size_t at_ = 0;
};

}  // namespace

Json parse_hjson_object(std::string_view text, std::string_view origin, const JsonLimits& limits) {
  const auto refuse = [&](const std::string& why) {
    throw FormatError("format.hjson", "cannot parse " + std::string(origin), why);
  };
  if (static_cast<Bytes>(text.size()) > limits.max_bytes) refuse("it is larger than " + format_bytes(limits.max_bytes));
  if (text.find('\0') != std::string_view::npos) refuse("expected text, got a NUL byte");
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  Json object = Parser(text, origin, limits.max_depth).run();
  try {
    (void)object.dump();
  } catch (const Json::exception&) {
    refuse("expected UTF-8, got other bytes");
  }
  return object;
}

}  // namespace sluice::format
