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
/// Makes x W^T + b, and what the adapter does, of `y`, which is x W^T. Rows of `y` may lie apart.
void complete_linear(const Linear& p, const at::Tensor& x, at::Tensor y);
/// The gradient of x W^T: `dy`, or times the factors of a magnitude in fresh memory.
[[nodiscard]] at::Tensor before_magnitude(const Linear& p, const at::Tensor& dy);
/// Adds the gradient of the adapter's magnitude into `gradient`, where it is wanted.
void add_magnitude_gradient(const Linear& p, const Linear& gradient, const at::Tensor& dy, const at::Tensor& x);
/// Adds the gradients of weight, bias and adapter into `gradient`.
void add_linear_gradients(const Linear& p, const Linear& gradient, const at::Tensor& dy, const at::Tensor& x);
/// Whether any of these gradients is wanted.
[[nodiscard]] bool wants_gradient(const Linear& gradient);
/// dx = dy W, and the gradient through the adapter, in fresh memory.
[[nodiscard]] at::Tensor linear_backward(const Linear& p, const at::Tensor& dy);

}  // namespace sluice::model
