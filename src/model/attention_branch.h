// The first half of a decoder layer: x + o(attention(rope(q, k), v)) with q, k, v projected from norm(x); without rope
// where the family has learned positions. Forward and backward by hand; rows are tokens, T = B * S.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "model/attention.h"
#include "model/joined_linear.h"
#include "model/norm.h"
#include "model/rope.h"

namespace sluice::model {

/// Parameters, or their gradients.
struct AttentionWeights {
  NormWeights norm;
  JoinedLinear qkv;  ///< maps whose results are q, k and v, side by side
  Linear o;
  /// In the order of their parameters.
  [[nodiscard]] std::vector<Linear*> linears();
};

struct AttentionShape {
  std::int64_t num_heads = 1, num_kv_heads = 1, head_dim = 1;
};

/// How the T rows are made of sequences.
struct TokenGrid {
  std::int64_t batch = 1, seq_len = 1;
};

/// What the backward needs beside x. The output is kept by the other half.
struct SavedAttention {
  at::Tensor statistics, qkv;  // of the norm; [T,(H+2K)d]
  AttentionResult attention;
};

class AttentionBranch {
 public:
  AttentionBranch(AttentionShape shape, Norm norm, std::optional<Rope> rope)
      : shape_(shape), norm_(norm), rope_(std::move(rope)) {}
  /// x [T,D] -> x + branch, fresh. Fills `saved` unless null.
  [[nodiscard]] at::Tensor forward(const AttentionWeights& p, const at::Tensor& x, TokenGrid grid,
                                   SavedAttention* saved) const;
  /// Adds parameter gradients into `g`, and the gradient through the branch into `dx`, which on entry holds dY (the
  /// gradient through the residual). Consumes `saved`.
  void backward(const AttentionWeights& p, const AttentionWeights& g, const at::Tensor& x, TokenGrid grid,
                SavedAttention saved, at::Tensor& dx) const;
  /// Tokens at positions [position, position + S) against the cache; their keys and values are written into it.
  [[nodiscard]] at::Tensor decode(const AttentionWeights& p, const at::Tensor& x, TokenGrid grid, const KvCache& cache,
                                  std::int64_t position) const;
  [[nodiscard]] const AttentionShape& shape() const { return shape_; }

 private:
  struct Heads {
    at::Tensor q, k, v;  // views [B,S,H,d], [B,S,K,d] of rows [T,(H+2K)d]
  };
  Heads heads(const at::Tensor& qkv, TokenGrid grid) const;
  // Fills statistics and qkv, turned.
  SavedAttention project(const AttentionWeights& p, const at::Tensor& x, TokenGrid grid, std::int64_t position) const;
  AttentionShape shape_;
  Norm norm_;
  std::optional<Rope> rope_;
};

}  // namespace sluice::model
