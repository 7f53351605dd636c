// Cross entropy of one tile of tokens, in the memory of its logits.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sluice::model {

inline constexpr std::int64_t kNoTarget = -100;

/// Targets [B*S] of labels [B,S]: position t is to predict label t + 1; the last position predicts nothing.
[[nodiscard]] at::Tensor shifted_targets(const at::Tensor& labels_BS);

/// Adds the tile's losses into `loss_sum` (a double, shape []), in the order of the rows. `with_gradient`: overwrites
/// `logits` [n,V] with scale * d(sum)/d(logits). Throws InternalError for a target beyond the vocabulary.
void cross_entropy_tile(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& loss_sum,
                        bool with_gradient, float scale);

}  // namespace sluice::model
