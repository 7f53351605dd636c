// The layer of the Llama family; see llama.cpp for how layers make a model.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "format/model_config.h"
#include "model/block.h"

namespace sluice::model {

/// Decoder layer; parameters as `layer_parameters` lists them. `compute`: what products multiply (product.h).
[[nodiscard]] std::unique_ptr<Block> make_llama_layer(const format::ModelConfig& config, std::string name,
                                                      NumberFormat compute);

/// The parameters of a decoder layer in order; names start with `prefix` ("model.layers.3.").
[[nodiscard]] std::vector<ParameterSpec> layer_parameters(const format::ModelConfig& config, const std::string& prefix);

}  // namespace sluice::model
