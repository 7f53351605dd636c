// The blocks at both ends of a decoder: embedding and head. Shapes and kinds follow from the configuration.
#pragma once
#include <memory>
#include <string>

#include "format/model_config.h"
#include "model/block.h"
#include "model/norm.h"

namespace sluice::model {

/// Token embedding: parameters {tokens [V,D]} or, with learned positions, {tokens [V,D], positions [P,D]}: the sum of
/// both rows. The gradient of `tokens` is added row by row in token order, each column by one thread, so the result
/// does not depend on the number of threads.
[[nodiscard]] std::unique_ptr<Block> make_embedding_block(const format::ModelConfig& config, std::string name);

/// Final norm, output projection, cross entropy in tiles of tokens: parameters those of `norm`, then
/// {weight [V,D]}.
[[nodiscard]] std::unique_ptr<LossBlock> make_loss_head(const format::ModelConfig& config, Norm norm, std::string name);

/// Tokens per tile of the head: the largest power of two <= 512 whose logits fit 48 MiB, at least 16. From the shape
/// alone, for it changes the order of sums.
[[nodiscard]] std::int64_t loss_tile(std::int64_t vocab_size);

}  // namespace sluice::model
