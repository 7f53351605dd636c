// What the row kernels compute, written with torch's operators alone: for devices on which the kernels do not run
// (place.h). Each function is the one of the same name in the header named above it, with the same contract; sums go in
// the order of torch's deterministic operators.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "model/attention.h"
#include "model/cross_entropy.h"
#include "model/gelu.h"
#include "model/layer_norm.h"
#include "model/rms_norm.h"

namespace sluice::model::torch_operators {

// rms_norm.h
[[nodiscard]] NormResult rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
[[nodiscard]] at::Tensor rms_norm_again(const at::Tensor& x, const at::Tensor& rstd, const at::Tensor& weight);
void rms_norm_backward(const NormInputs& in, const at::Tensor& dy, const at::Tensor& residual, const at::Tensor& dx,
                       const at::Tensor& weight_gradient);

// layer_norm.h
[[nodiscard]] LayerNormResult layer_norm(const at::Tensor& x, const NormWeights& p, double eps);
[[nodiscard]] at::Tensor layer_norm_again(const LayerNormInputs& in);
void layer_norm_backward(const LayerNormInputs& in, const at::Tensor& dy, const at::Tensor& residual,
                         const at::Tensor& dx, const NormWeights& g);

// swiglu.h, gelu.h
[[nodiscard]] at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);
void swiglu_backward_in_place(at::Tensor dy, at::Tensor gate, at::Tensor up);
[[nodiscard]] at::Tensor gelu(const at::Tensor& x, const at::Tensor& bias, kernel::Gelu form);
void gelu_in_place(at::Tensor x, const at::Tensor& bias, kernel::Gelu form);
void gelu_backward_in_place(at::Tensor dy, at::Tensor x, const at::Tensor& bias, at::Tensor bias_gradient,
                            kernel::Gelu form);

/// Rope::table: made on the device, to which the frequencies alone are copied.
[[nodiscard]] at::Tensor rotations(std::span<const float> frequencies, std::int64_t first, std::int64_t n,
                                   c10::Device device);
/// rotate (sign 1) and rotate_back (-1) of rope.h.
void turn(const at::Tensor& from_BSHd, const at::Tensor& to_BSHd, const at::Tensor& table, int sign);

// attention.h
[[nodiscard]] AttentionResult causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);
[[nodiscard]] AttentionGradients causal_attention_backward(const at::Tensor& dout, const at::Tensor& q,
                                                           const at::Tensor& k, const at::Tensor& v,
                                                           const AttentionResult& forward);
/// Softmax over the last dimension of scores [n,length], in place: row r sees columns [0, position + r % num_queries].
/// `longest` >= length: what is allocated depends on it alone.
void visible_softmax(at::Tensor scores, std::int64_t num_queries, std::int64_t position, std::int64_t longest);

// cross_entropy.h
void add_to_softmax(const LogitsPiece& piece, const SoftmaxTile& tile);
void softmax_gradient(const LogitsPiece& piece, const SoftmaxTile& tile, float scale);

/// Rows of a table that stands for tokens [first_row, first_row + table's rows) of the vocabulary.
struct TableRows {
  at::Tensor table;
  std::int64_t first_row = 0;
};
/// output[t] = the row of ids[t], where the table holds it.
void copy_rows(const TableRows& from, const at::Tensor& ids, at::Tensor output);
/// The row of ids[t] += dy[t], where the table holds it, in the order of the tokens.
void add_rows(TableRows to, const at::Tensor& ids, const at::Tensor& dy);

}  // namespace sluice::model::torch_operators
