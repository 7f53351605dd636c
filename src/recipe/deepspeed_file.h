// A DeepSpeed config.json as it stands: every key found in the table of keys and of its type.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "recipe/deepspeed_keys.h"

namespace sluice::recipe {

class DeepSpeedFile {
 public:
  using Json = nlohmann::ordered_json;

  struct Entry {
    const DeepSpeedKey* row = nullptr;
    Json value;
    std::string outcome;  ///< what becomes of it; several with "; " between them
  };

  /// Reads Hjson, old spellings of sections included. Throws ConfigError naming the key that DeepSpeed does not have
  /// (with the nearest that it has), that stands in the wrong place, or whose value is not of its type; IoError.
  explicit DeepSpeedFile(const std::filesystem::path& path);

  [[nodiscard]] std::vector<Entry>& entries() { return entries_; }
  [[nodiscard]] bool has_section(std::string_view name) const { return root_.contains(name); }
  /// nullptr: not in the file, or null there.
  [[nodiscard]] Entry* find(std::string_view key);
  [[nodiscard]] bool is_auto(std::string_view key);
  /// nullptr: not in the file, null or "auto" there, which mean that somebody else decides.
  [[nodiscard]] const Json* value(std::string_view key);
  [[nodiscard]] bool is_on(std::string_view key);  ///< a switch that is true

  static void note(Entry& entry, const std::string& outcome);

 private:
  void replace_old_forms();
  void walk(const Json& section, const std::string& prefix);

  std::string origin_;
  Json root_;
  std::vector<Entry> entries_;
};

/// As it would stand in a flag: whole numbers without a fraction, lists with commas.
std::string deepspeed_value_text(const nlohmann::ordered_json& value);

}  // namespace sluice::recipe
