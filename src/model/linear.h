// Products with a weight, without temporaries: results go where they are summed. Rows are tokens: x [T,in], y [T,out].
#pragma once
#include <ATen/core/Tensor.h>

#include "base/narrow.h"
#include "model/low_rank.h"

namespace sluice::model {

/// A linear map's parameters (weight [out,in] as it is held, bias [out] in fp32 or undefined), or their gradients
/// (undefined: not trained).
struct Linear {
  at::Tensor weight, bias;
  LowRank adapter = {};
  NumberFormat compute = NumberFormat::Fp32;  ///< what products multiply (product.h); of gradients unused
};

/// x W^T + b, and what the adapter adds, in fresh memory.
[[nodiscard]] at::Tensor linear(const Linear& p, const at::Tensor& x);
/// y += the same.
void add_linear(const Linear& p, const at::Tensor& x, at::Tensor& y);
/// Makes x W^T + b, and what the adapter does, of `y`, which is x W^T. Rows of `y` may lie apart. `input`: x as
/// products take it.
void complete_linear(const Linear& p, const at::Tensor& input, at::Tensor y);
/// Adds the gradient of the adapter's magnitude into `gradient`, where it is wanted. `input`: x as products take it.
void add_magnitude_gradient(const Linear& p, const Linear& gradient, const at::Tensor& dy, const at::Tensor& input);

/// The gradient of a result, made ready once for both functions of its backward.
struct OutputGradient {
  at::Tensor dy;
  at::Tensor input;  ///< that of x W^T (times the factors of a magnitude) as products take it; may be `dy`
};
[[nodiscard]] OutputGradient make_output_gradient(const Linear& p, const at::Tensor& dy);
/// Adds the gradients of weight, bias and adapter into `gradient`.
void add_linear_gradients(const Linear& p, const Linear& gradient, const OutputGradient& d, const at::Tensor& x);
/// Whether any of these gradients is wanted.
[[nodiscard]] bool wants_gradient(const Linear& gradient);
/// dx = dy W, and the gradient through the adapter, in fresh memory.
[[nodiscard]] at::Tensor linear_backward(const Linear& p, const OutputGradient& d);

}  // namespace sluice::model
