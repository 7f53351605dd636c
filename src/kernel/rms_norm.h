// RMS normalisation of rows, forward and backward, each in one pass over memory. With n = x * rstd and
// rstd = 1 / sqrt(mean(x^2) + eps): y = n * w; dw = sum over rows of dy * n; dx = rstd * (dy * w - n * mean(dy * w *
// n)).
#pragma once
#include <cstddef>

namespace sluice::kernel {

/// `num_rows` rows of `width` elements, one after the other; `rstd` holds one number per row.
struct RmsNormRows {
  std::size_t num_rows, width;
  const float* x;
  const float* weight;
  float* rstd;
  float* y;
};
/// Writes y and rstd.
void rms_norm(const RmsNormRows& rows, float eps);
/// Writes y from the rstd that is there: the bits of `rms_norm`.
void rms_norm_again(const RmsNormRows& rows);

struct RmsNormBackwardRows {
  std::size_t num_rows, width;
  const float* dy;
  const float* x;
  const float* rstd;
  const float* weight;
  const float* residual;   ///< added to dx; null: nothing is; may be dx
  float* dx;               ///< may be dy
  float* weight_gradient;  ///< [width], added to in the order of the rows; null: not wanted
};
void rms_norm_backward(const RmsNormBackwardRows& rows);

}  // namespace sluice::kernel
