// Rotary settings in config.json: transformers 4 writes rope_theta and rope_scaling, transformers 5 rope_parameters.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "format/model_config.h"

namespace sluice::format {

/// Fills rope_theta and rope_scaling of `config` from either spelling. Throws ConfigError for a type that is not
/// computed, FormatError when the spellings contradict each other. max_position_embeddings must be set.
void read_rope(const nlohmann::json& root, std::string_view origin, ModelConfig& config);

/// Adds the spellings that `root` lacks.
void add_rope(nlohmann::ordered_json& root, const ModelConfig& config);

}  // namespace sluice::format
