// Causal attention with grouped heads: scores never stand whole, keys and values are not repeated. Shapes: q [B,S,H,d],
// k and v [B,S,K,d], H a multiple of K; heads next to each other in rows of any stride.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

#include "base/narrow.h"
#include "model/block.h"

namespace sluice::model {

struct AttentionResult {
  at::Tensor out;        ///< [B,S,H,d], contiguous
  at::Tensor logsumexp;  ///< [B,H,S], of the scaled scores: for the backward
};

struct AttentionGradients {
  at::Tensor dq, dk, dv;  ///< [B,S,H,d], [B,S,K,d], contiguous
};

/// `compute`: what products of the block multiply; on the CPU attention is computed in fp32, whatever it says.
[[nodiscard]] AttentionResult causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                               NumberFormat compute = NumberFormat::Fp32);
[[nodiscard]] AttentionGradients causal_attention_backward(const at::Tensor& dout, const at::Tensor& q,
                                                           const at::Tensor& k, const at::Tensor& v,
                                                           const AttentionResult& forward,
                                                           NumberFormat compute = NumberFormat::Fp32);
/// Queries of positions [position, position + S) against the cached keys and values of [0, position + S), which stand
/// in `cache` already. Returns [B,S,H,d]. Allocates the same at every position.
[[nodiscard]] at::Tensor cached_attention(const at::Tensor& q, const KvCache& cache, std::int64_t position);

}  // namespace sluice::model
