// The blocks of the Llama family. Shapes follow from the configuration; see llama.cpp for how they make a model.
#pragma once
#include <memory>
#include <string>

#include "format/model_config.h"
#include "model/block.h"

namespace sluice::model {

/// Token embedding: parameter {weight [V,D]}. Its gradient is added row by row in token order, each column by one
/// thread, so the result does not depend on the number of threads.
[[nodiscard]] std::unique_ptr<Block> make_embedding_block(const format::ModelConfig& config, std::string name);

/// Decoder layer; parameters as `layer_parameters` lists them.
[[nodiscard]] std::unique_ptr<Block> make_llama_layer(const format::ModelConfig& config, std::string name);

/// Final norm, output projection, cross entropy in tiles of tokens: parameters {norm [D], weight [V,D]}.
[[nodiscard]] std::unique_ptr<LossBlock> make_loss_head(const format::ModelConfig& config, std::string name);

/// The parameters of a decoder layer in order; names start with `prefix` ("model.layers.3.").
[[nodiscard]] std::vector<ParameterSpec> layer_parameters(const format::ModelConfig& config, const std::string& prefix);

/// Tokens per tile of the head: the largest power of two <= 512 whose logits fit 48 MiB, at least 16. From the shape
/// alone, for it changes the order of sums.
[[nodiscard]] std::int64_t loss_tile(std::int64_t vocab_size);

}  // namespace sluice::model
