// Products with a weight, without temporaries: results go where they are summed. Rows are tokens: x [T,in], y [T,out].
#pragma once
#include <ATen/core/Tensor.h>

namespace sluice::model {

/// A linear map's parameters (weight [out,in], bias [out] or undefined), or their gradients (undefined: not trained).
struct Linear {
  at::Tensor weight, bias;
};

/// x W^T + b in fresh memory.
[[nodiscard]] at::Tensor linear(const Linear& p, const at::Tensor& x);
/// y += x W^T + b.
void add_linear(const Linear& p, const at::Tensor& x, at::Tensor& y);
/// Adds the gradients of weight and bias into `gradient`.
void add_linear_gradients(const Linear& gradient, const at::Tensor& dy, const at::Tensor& x);
/// dx = dy W in fresh memory.
[[nodiscard]] at::Tensor linear_backward(const Linear& p, const at::Tensor& dy);
/// dx += dy W.
void add_linear_backward(const Linear& p, const at::Tensor& dy, at::Tensor& dx);

}  // namespace sluice::model
