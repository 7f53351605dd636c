// The layer of the GPT-2 family; see gpt2.cpp for how layers make a model.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "format/model_config.h"
#include "model/block.h"

namespace sluice::model {

/// Decoder layer; parameters as `gpt2_layer_parameters` lists them. `compute`: what products multiply (product.h).
/// Throws ConfigError for an unknown activation.
[[nodiscard]] std::unique_ptr<Block> make_gpt2_layer(const format::ModelConfig& config, std::string name,
                                                     NumberFormat compute);

/// The parameters of a layer in order; names start with `prefix` ("transformer.h.3."). Matrices are stored [in,out].
[[nodiscard]] std::vector<ParameterSpec> gpt2_layer_parameters(const format::ModelConfig& config,
                                                               const std::string& prefix);

}  // namespace sluice::model
