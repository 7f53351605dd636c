#include "format/strict_json.h"

#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/error.h"
#include "format/quote.h"

namespace sluice::format {
namespace {

// Sees every token before a document is built from them.
class Guard final : public nlohmann::json_sax<nlohmann::json> {
 public:
  Guard(std::string_view origin, int max_depth) : origin_(origin), max_depth_(max_depth) {}

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return enter(); }
  bool end_object() override { return leave(); }
  bool start_array(std::size_t) override { return enter(); }
  bool end_array() override { return leave(); }
  bool key(string_t& name) override {
    if (!keys_.back().insert(name).second)
      throw FormatError("format.json", "duplicate key in " + origin_,
                        "expected each key once, got " + quote(name) + " again");
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    throw FormatError("format.json", "cannot parse " + origin_,
                      "expected JSON, got an error at byte " + std::to_string(position),
                      "the file is damaged: copy or download it again");
  }

 private:
  bool enter() {
    keys_.emplace_back();
    if (static_cast<int>(keys_.size()) > max_depth_)
      throw FormatError("format.json", "nesting is too deep in " + origin_,
                        "expected at most " + std::to_string(max_depth_) + " levels");
    return true;
  }
  bool leave() {
    keys_.pop_back();
    return true;
  }

  std::string origin_;
  int max_depth_;
  std::vector<std::unordered_set<std::string>> keys_;
};

}  // namespace

void check_json_text(std::string_view text, std::string_view origin, Bytes max_bytes) {
  if (static_cast<Bytes>(text.size()) > max_bytes)
    throw FormatError(
        "format.json", std::string(origin) + " is too large",
        "expected at most " + format_bytes(max_bytes) + ", got " + format_bytes(static_cast<Bytes>(text.size())));
  // The parser takes a NUL byte for the end of its input.
  if (const auto nul = text.find('\0'); nul != std::string_view::npos)
    throw FormatError("format.json", "cannot parse " + std::string(origin),
                      "expected JSON, got a NUL at byte " + std::to_string(nul),
                      "the file is damaged: copy or download it again");
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || text[first] != '{')
    throw FormatError("format.json", "cannot parse " + std::string(origin),
                      "expected a JSON object, got something else", "the file is damaged: copy or download it again");
}

nlohmann::json parse_json_object(std::string_view text, std::string_view origin, const JsonLimits& limits) {
  check_json_text(text, origin, limits.max_bytes);
  Guard guard(origin, limits.max_depth);
  nlohmann::json::sax_parse(text, &guard);
  return nlohmann::json::parse(text);
}

}  // namespace sluice::format
