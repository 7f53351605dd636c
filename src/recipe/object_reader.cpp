#include "recipe/object_reader.h"

#include <cmath>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/nearest.h"

namespace sluice::recipe {

ObjectReader::ObjectReader(const nlohmann::json& object, std::string where)
    : object_(object), where_(std::move(where)) {
  if (!object.is_object()) fail("", "an object of keys");
}

double ObjectReader::number(const char* key, double lowest, double highest) {
  const nlohmann::json& value = find(key);
  if (!value.is_number()) fail(key, "a number");
  const double number = value.get<double>();
  if (!(number >= lowest && number <= highest)) fail(key, "a number in range");
  return number;
}

double ObjectReader::number_or(const char* key, double otherwise, double lowest, double highest) {
  return has(key) ? number(key, lowest, highest) : otherwise;
}

Bytes ObjectReader::bytes(const char* key) {
  const nlohmann::json& value = find(key);
  if (value.is_string()) return parse_bytes(value.get<std::string>(), where_ + "." + key);
  return static_cast<Bytes>(number(key, 0, 0x1p62));
}

int ObjectReader::integer(const char* key, int lowest, int highest) {
  const double value = number(key, lowest, highest);
  if (value != std::floor(value)) fail(key, "a whole number");
  return static_cast<int>(value);
}

std::string ObjectReader::text(const char* key) {
  const nlohmann::json& value = find(key);
  if (!value.is_string()) fail(key, "a text");
  return value.get<std::string>();
}

bool ObjectReader::boolean(const char* key) {
  const nlohmann::json& value = find(key);
  if (!value.is_boolean()) fail(key, "true or false");
  return value.get<bool>();
}

const nlohmann::json& ObjectReader::find(const char* key) {
  read_.insert(key);
  const auto found = object_.find(key);
  if (found == object_.end())
    throw ConfigError("machine", where_ + " lacks a key", std::string("expected '") + key + "', got none");
  return *found;
}

void ObjectReader::finish() const {
  for (const auto& [key, value] : object_.items()) {
    if (read_.contains(key)) continue;
    throw ConfigError(
        "machine", where_ + " has an unknown key '" + key + "'", {},
        "did you mean '" + nearest_name(key, std::vector<std::string>(read_.begin(), read_.end())) + "'?");
  }
}

void ObjectReader::fail(const std::string& key, const std::string& expected) const {
  const std::string place = key.empty() ? where_ : where_ + "." + key;
  const nlohmann::json& value = key.empty() ? object_ : object_.at(key);
  throw ConfigError("machine", place + " cannot be read",
                    "expected " + expected + ", got " + value.dump().substr(0, 60));
}

}  // namespace sluice::recipe
