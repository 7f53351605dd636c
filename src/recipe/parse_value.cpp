#include "recipe/parse_value.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include "base/error.h"

namespace sluice::recipe {
namespace {

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

/// from_chars takes no leading '+', people and YAML do.
std::string_view number_text(std::string_view text) {
  text = trim(text);
  if (text.size() > 1 && text.front() == '+' && text[1] != '-') text.remove_prefix(1);
  return text;
}

template <typename T>
bool read_all(std::string_view text, T& value) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size() && !text.empty();
}

}  // namespace

void throw_bad_value(std::string_view what, std::string_view expected, std::string_view text,
                     std::string_view try_this) {
  std::string shown(text.substr(0, 80));
  if (shown.size() < text.size()) shown += "...";
  throw ConfigError("config", std::string(what) + " has a value that it cannot take",
                    "expected " + std::string(expected) + ", got '" + shown + "'", try_this);
}

std::int64_t parse_integer(std::string_view text, std::string_view what, IntegerRange range) {
  std::int64_t value = 0;
  if (!read_all(number_text(text), value)) {
    // JSON and YAML writers turn 500 into 500.0 or 5e2.
    double real = 0;
    if (!read_all(number_text(text), real) || real != std::floor(real) || std::fabs(real) > 0x1p53) {
      throw_bad_value(what, "a whole number", text);
    }
    value = static_cast<std::int64_t>(real);
  }
  if (value < range.lowest || value > range.highest) {
    throw_bad_value(
        what, "a whole number from " + std::to_string(range.lowest) + " to " + std::to_string(range.highest), text);
  }
  return value;
}

std::uint64_t parse_seed(std::string_view text, std::string_view what) {
  std::uint64_t value = 0;
  if (!read_all(number_text(text), value)) throw_bad_value(what, "a whole number from 0 to 2^64-1", text);
  return value;
}

double parse_real(std::string_view text, std::string_view what, RealRange range) {
  double value = 0;
  if (!read_all(number_text(text), value) || !std::isfinite(value)) throw_bad_value(what, "a number", text);
  const bool low = value < range.lowest || (range.open_below && value == range.lowest);
  const bool high = value > range.highest || (range.open_above && value == range.highest);
  if (low || high) {
    std::string expected = std::string("a number ") + (range.open_below ? "above " : "of at least ");
    expected += print_real(range.lowest);
    if (std::isfinite(range.highest)) {
      expected += std::string(range.open_above ? " and below " : " and at most ") + print_real(range.highest);
    }
    throw_bad_value(what, expected, text);
  }
  return value;
}

bool parse_switch(std::string_view text, std::string_view what) {
  const std::string folded = fold_name(trim(text));
  for (const char* yes : {"true", "yes", "on", "1"}) {
    if (folded == yes) return true;
  }
  for (const char* no : {"false", "no", "off", "0"}) {
    if (folded == no) return false;
  }
  throw_bad_value(what, "true or false", text);
}

Seconds parse_seconds(std::string_view text, std::string_view what) {
  const std::string_view whole = number_text(text);
  double value = 0;
  const auto [end, code] = std::from_chars(whole.data(), whole.data() + whole.size(), value);
  const std::string unit = fold_name(trim(whole.substr(static_cast<std::size_t>(end - whole.data()))));
  static constexpr std::array<std::pair<std::string_view, double>, 9> kUnits = {{{"", 1},
                                                                                 {"s", 1},
                                                                                 {"sec", 1},
                                                                                 {"m", 60},
                                                                                 {"min", 60},
                                                                                 {"h", 3600},
                                                                                 {"hours", 3600},
                                                                                 {"d", 86400},
                                                                                 {"days", 86400}}};
  for (const auto& [name, factor] : kUnits) {
    if (code == std::errc() && unit == name && value > 0 && value * factor < 1e12) return value * factor;
  }
  throw_bad_value(what, "a time above 0 in s, min, h or d", text, "write for example 90min or 2h");
}

std::string print_real(double value) {
  std::array<char, 40> text;
  const auto [end, code] = std::to_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() ? std::string(text.data(), end) : std::string("nan");
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view part = trim(text.substr(0, comma));
    if (!part.empty()) parts.emplace_back(part);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
  }
  return parts;
}

std::string join_list(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ",") + part;
  return text;
}

std::string fold_name(std::string_view name) {
  std::string folded(name);
  for (char& c : folded) c = c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return folded;
}

}  // namespace sluice::recipe
