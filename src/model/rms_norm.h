// RMS normalisation of rows: y = x * rstd * w, rstd = 1 / sqrt(mean(x^2) + eps). Only rstd need be saved: y is made
// again in the backward.
#pragma once
#include <ATen/core/Tensor.h>

namespace sluice::model {

struct NormResult {
  at::Tensor y;     ///< [T,D]
  at::Tensor rstd;  ///< [T,1]
};

[[nodiscard]] NormResult rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
/// y again, same bits.
[[nodiscard]] at::Tensor rms_norm_again(const at::Tensor& x, const at::Tensor& rstd, const at::Tensor& weight);

/// What the forward worked on.
struct NormInputs {
  const at::Tensor& x;
  const at::Tensor& rstd;
  const at::Tensor& weight;
};

/// dx = residual (undefined: 0) + the gradient through the norm of dy. `dx` may be the memory of `dy` or of `residual`.
/// Adds dw into `weight_gradient` (unless undefined).
void rms_norm_backward(const NormInputs& in, const at::Tensor& dy, const at::Tensor& residual, const at::Tensor& dx,
                       const at::Tensor& weight_gradient);

}  // namespace sluice::model
