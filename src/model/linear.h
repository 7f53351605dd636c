// Products with a weight, without temporaries: results go where they are summed. Rows are tokens: x [T,in], y [T,out].
#pragma once
#include <ATen/core/Tensor.h>

#include "model/low_rank.h"

namespace sluice::model {

/// A linear map's parameters (weight [out,in], bias [out] or undefined), or their gradients (undefined: not trained).
struct Linear {
  at::Tensor weight, bias;
  LowRank adapter = {};
};

/// x W^T + b, and what the adapter adds, in fresh memory.
[[nodiscard]] at::Tensor linear(const Linear& p, const at::Tensor& x);
/// y += the same.
void add_linear(const Linear& p, const at::Tensor& x, at::Tensor& y);
/// Adds the gradients of weight, bias and adapter into `gradient`.
void add_linear_gradients(const Linear& p, const Linear& gradient, const at::Tensor& dy, const at::Tensor& x);
/// Whether any of these gradients is wanted.
[[nodiscard]] bool wants_gradient(const Linear& gradient);
/// dx = dy W, and the gradient through the adapter, in fresh memory.
[[nodiscard]] at::Tensor linear_backward(const Linear& p, const at::Tensor& dy);

}  // namespace sluice::model
