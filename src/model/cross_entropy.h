// Cross entropy of one tile of tokens, in the memory of its logits.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sluice::model {

inline constexpr std::int64_t kNoTarget = -100;

/// Targets [B*S] of labels [B,S]: position t is to predict label t + 1; the last position predicts nothing.
[[nodiscard]] at::Tensor shifted_targets(const at::Tensor& labels_BS);

/// Adds the tile's losses into `loss_sum` (a double, shape []). Overwrites `logits` [n,V]: with scale *
/// d(sum)/d(logits) when `with_gradient`, with exp(logit - maximum) otherwise.
void cross_entropy_tile(at::Tensor& logits, const at::Tensor& targets, at::Tensor& loss_sum, bool with_gradient,
                        float scale);

}  // namespace sluice::model
