// Strict reading of one JSON object of a machine file: typed keys, and nothing that nobody reads.
#pragma once
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "base/units.h"

namespace sluice::recipe {

/// The keys of one JSON object; every failure is a ConfigError that names the key. Refers to `object`.
class ObjectReader {
 public:
  ObjectReader(const nlohmann::json& object, std::string where);

  double number(const char* key, double lowest, double highest = 1e30);
  /// `otherwise` when there is no such key.
  double number_or(const char* key, double otherwise, double lowest, double highest = 1e30);
  /// A number, or a size as people write it.
  Bytes bytes(const char* key);
  int integer(const char* key, int lowest, int highest);
  std::string text(const char* key);
  bool boolean(const char* key);
  const nlohmann::json& find(const char* key);
  [[nodiscard]] bool has(const char* key) const { return object_.contains(key); }
  /// Refuses keys that nobody read.
  void finish() const;
  [[nodiscard]] const std::string& where() const { return where_; }
  [[noreturn]] void fail(const std::string& key, const std::string& expected) const;

 private:
  const nlohmann::json& object_;
  std::string where_;
  std::set<std::string> read_;
};

}  // namespace sluice::recipe
