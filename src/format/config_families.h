// How each family writes its config.json: one .cpp per family, one row in config_families.cpp.
#pragma once
#include <array>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string_view>

#include "format/config_reader.h"
#include "format/model_config.h"

namespace sluice::format {

struct ConfigFamily {
  std::string_view model_type;
  std::string_view architecture;           ///< the class with the language-model head
  std::span<const KeySpelling> spellings;  ///< keys that it spells in its own way
  /// Fills sizes and everything that shapes the mathematics; refuses what is not computed. Bounds are checked later.
  void (*read)(const ConfigReader& reader, ModelConfig& config);
  /// Adds the keys between `architectures` and the token ids.
  void (*write)(nlohmann::ordered_json& root, const ModelConfig& config);
  /// Adds spellings that other versions of transformers look for; null: none.
  void (*complete)(nlohmann::ordered_json& root, const ModelConfig& config);
};

[[nodiscard]] std::span<const ConfigFamily> config_families();
/// nullptr for an unknown type.
[[nodiscard]] const ConfigFamily* find_config_family(std::string_view model_type);

void read_llama_config(const ConfigReader& reader, ModelConfig& config);
void write_llama_config(nlohmann::ordered_json& root, const ModelConfig& config);
void read_gpt2_config(const ConfigReader& reader, ModelConfig& config);
void write_gpt2_config(nlohmann::ordered_json& root, const ModelConfig& config);
[[nodiscard]] std::span<const KeySpelling> gpt2_spellings();

}  // namespace sluice::format
