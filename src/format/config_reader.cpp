#include "format/config_reader.h"

#include <cmath>

#include "base/error.h"
#include "format/quote.h"

namespace sluice::format {
namespace {

using nlohmann::json;

const json* value_at(const json& root, std::string_view key) {
  const auto found = root.find(key);
  return found == root.end() || found->is_null() ? nullptr : &*found;
}

}  // namespace

std::string_view spelled(std::span<const KeySpelling> spellings, std::string_view key) {
  for (const KeySpelling& row : spellings)
    if (row.key == key) return row.spelled;
  return key;
}

void ConfigReader::refuse(std::string_view key, const std::string& expected_got) const {
  throw FormatError("format.config", std::string(origin_) + ": " + std::string(spelled(spellings_, key)), expected_got,
                    "correct config.json");
}

void ConfigReader::unsupported(const std::string& what, const std::string& expected_got) const {
  throw ConfigError("format.config", std::string(origin_) + ": " + what + " is not supported", expected_got);
}

const json* ConfigReader::member(std::string_view key) const {
  const std::string_view own = spelled(spellings_, key);
  const json* value = value_at(root_, own);
  if (own == key) return value;
  const json* common = value_at(root_, key);
  if (value != nullptr && common != nullptr && *value != *common)
    refuse(key, "expected the same as " + std::string(key) + ", got another value");
  return value != nullptr ? value : common;
}

std::optional<std::int64_t> ConfigReader::integer(std::string_view key) const {
  const json* value = member(key);
  if (value == nullptr) return std::nullopt;
  return to_integer(*value, key);
}

std::int64_t ConfigReader::required(std::string_view key) const {
  const auto value = integer(key);
  if (!value) refuse(key, "expected an integer, got nothing");
  return *value;
}

double ConfigReader::number(std::string_view key, double fallback) const {
  const json* value = member(key);
  if (value == nullptr) return fallback;
  if (!value->is_number() || !std::isfinite(value->get<double>())) refuse(key, "expected a number");
  return value->get<double>();
}

bool ConfigReader::boolean(std::string_view key, bool fallback) const {
  const json* value = member(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) refuse(key, "expected true or false");
  return value->get<bool>();
}

std::string ConfigReader::text(std::string_view key, const std::string& fallback) const {
  const json* value = member(key);
  if (value == nullptr) return fallback;
  if (!value->is_string()) refuse(key, "expected a string");
  return value->get<std::string>();
}

std::int64_t ConfigReader::to_integer(const json& value, std::string_view key) const {
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() || value.get<std::uint64_t>() < (std::uint64_t{1} << 62));
  if (!fits) refuse(key, "expected an integer below 2^62");
  return value.get<std::int64_t>();
}

std::int64_t ConfigReader::even_share(std::int64_t hidden_size, std::int64_t num_heads) const {
  if (num_heads <= 0 || hidden_size % num_heads != 0)
    refuse("hidden_size", "expected a multiple of " + std::string(spelled(spellings_, "num_attention_heads")) +
                              ", got " + std::to_string(hidden_size));
  return hidden_size / num_heads;
}

}  // namespace sluice::format
