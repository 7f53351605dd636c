// The blocks at both ends of a decoder: embedding and head. Shapes and kinds follow from the configuration.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "format/model_config.h"
#include "model/block.h"
#include "model/norm.h"

namespace sluice::model {

/// A range of the vocabulary. The rows of a table that belong to it are a parameter of their own.
struct VocabularyPiece {
  std::int64_t first_row = 0, num_rows = 0;
};

/// Token embedding: parameters {tokens [V,D] piece by piece} or, with learned positions, these and {positions [P,D]}:
/// the sum of both rows. The gradient of `tokens` is added row by row in token order, each column by one thread, so the
/// result does not depend on the number of threads. Several pieces: a segment each.
[[nodiscard]] std::unique_ptr<Block> make_embedding_block(const format::ModelConfig& config,
                                                          std::vector<VocabularyPiece> pieces, std::string name);

/// Final norm, output projection, cross entropy in tiles of tokens: parameters those of `norm`, then
/// {weight [V,D] piece by piece}. Several pieces: each computation has a segment per piece, Backward two: as soon as
/// all have added to what is known of the softmax, each makes its logits again and from them its gradients. `compute`:
/// what products multiply (product.h).
[[nodiscard]] std::unique_ptr<LossBlock> make_loss_head(std::vector<VocabularyPiece> pieces, Norm norm,
                                                        std::string name, NumberFormat compute);

/// Tokens per tile of the head: the largest power of two <= 512 whose logits fit 48 MiB, at least 16. From the shape
/// alone, for it changes the order of sums.
[[nodiscard]] std::int64_t loss_tile(std::int64_t vocab_size);

}  // namespace sluice::model
