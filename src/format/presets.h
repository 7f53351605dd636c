// Shapes of published models by name, so that a plan or a random initialisation needs no file.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include "base/catalog.h"
#include "format/model_config.h"

namespace sluice::format {

/// The columns of the table in presets.cpp.
struct PresetShape {
  std::string_view model_type;
  std::int64_t vocab_size;
  std::int64_t hidden_size;
  std::int64_t intermediate_size;
  std::int64_t num_layers;
  std::int64_t num_heads;
  std::int64_t num_kv_heads;
  std::int64_t max_position_embeddings;
  double norm_eps;
  double rope_theta;     ///< 0: positions are learned
  double llama3_factor;  ///< 0: no rope scaling
  double initializer_range;
  bool tie_word_embeddings;
  std::int64_t bos_token_id;  ///< -1: none
  std::int64_t eos_token_id;  ///< -1: none
};

using Preset = CatalogRow<PresetShape>;

/// All presets, in the order in which they are listed.
std::span<const Preset> model_presets();

/// The config of a preset. Throws ConfigError listing the known names.
ModelConfig preset_config(std::string_view name);

}  // namespace sluice::format
