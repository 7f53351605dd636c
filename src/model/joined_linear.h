// Several linear maps of one input whose results stand side by side in one buffer: y [T, out_1 + out_2 + ...]. Weights
// that lie one after the other in their chunk are one matrix, so that one product serves all of them; else it is a
// product each, into the same places. Which of the two follows from the layout of the chunk, that is from shapes. Each
// map has its own low-rank adapter, or none.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "model/linear.h"

namespace sluice::model {

/// Parameters, or their gradients, in the order of the results.
using JoinedLinear = std::vector<Linear>;

/// y in fresh memory.
[[nodiscard]] at::Tensor joined_linear(const JoinedLinear& p, const at::Tensor& x);
/// That of all results, side by side.
[[nodiscard]] OutputGradient make_output_gradient(const JoinedLinear& p, const at::Tensor& dy);
/// Adds the gradients of weights and biases into `gradients`; an undefined one is not wanted.
void add_joined_gradients(const JoinedLinear& p, const JoinedLinear& gradients, const OutputGradient& d,
                          const at::Tensor& x);
/// Whether any of these gradients is wanted.
[[nodiscard]] bool wants_gradient(const JoinedLinear& gradients);
/// dx = the sum over the maps of dy_i W_i, in fresh memory.
[[nodiscard]] at::Tensor joined_backward(const JoinedLinear& p, const OutputGradient& d);

/// Matrices [n_i, D] as one [sum n_i, D] on the same memory; undefined where they do not follow each other.
[[nodiscard]] at::Tensor join_rows(const std::vector<at::Tensor>& matrices);

}  // namespace sluice::model
