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
/// Adds dx into `dx` and dw into `weight_gradient` (unless undefined). Overwrites `dy`.
void add_rms_norm_backward(at::Tensor& dy, const at::Tensor& x, const at::Tensor& rstd, const at::Tensor& weight,
                           const at::Tensor& weight_gradient, at::Tensor& dx);

}  // namespace sluice::model
