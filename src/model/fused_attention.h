// Attention of 16-bit numbers by the kernels that torch has for a card (FlashAttention 2, arXiv 2307.08691): scores
// stand nowhere. Shapes as in attention.h; tensors are fp32, what is multiplied is rounded to 16 bits, sums are fp32.
#pragma once
#include <string>

#include "base/narrow.h"
#include "model/attention.h"

namespace sluice::model {

/// Whether causal_attention of these goes here: at a place that has the kernels (ComputePlace::fused_attention), where
/// products multiply 16 bits and heads have a size that the kernels have. Not for few heads and tokens: there the
/// kernels divide keys among processors, by a rule of their own, and need memory for it.
[[nodiscard]] bool takes_fused_attention(const at::Tensor& q, NumberFormat compute);

[[nodiscard]] AttentionResult fused_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                              NumberFormat compute);
/// The same bits each time.
[[nodiscard]] AttentionGradients fused_attention_backward(const at::Tensor& dout, const at::Tensor& q,
                                                          const at::Tensor& k, const at::Tensor& v,
                                                          const AttentionResult& forward, NumberFormat compute);

/// Runs both kinds of attention at the compute place and compares them. Empty: the kernels are there and agree; else
/// what is wrong with them. Needs 100 MiB there.
[[nodiscard]] std::string try_fused_attention(NumberFormat compute);

}  // namespace sluice::model
