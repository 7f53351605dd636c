// Layer normalisation of rows, forward and backward, each in one pass over memory. With n = (x - mean) * rstd and
// rstd = 1 / sqrt(mean((x - mean)^2) + eps): y = n * w + b; dw = sum over rows of dy * n; db = sum over rows of dy;
// dx = rstd * (dy * w - mean(dy * w) - n * mean(dy * w * n)).
#pragma once
#include <cstddef>

namespace sluice::kernel {

/// `num_rows` rows of `width` elements, one after the other; `mean` and `rstd` hold one number per row.
struct LayerNormRows {
  std::size_t num_rows, width;
  const float* x;
  const float* weight;
  const float* bias;
  float* mean;
  float* rstd;
  float* y;
};
/// Writes y, mean and rstd.
void layer_norm(const LayerNormRows& rows, float eps);
/// Writes y from the mean and rstd that are there: the bits of `layer_norm`.
void layer_norm_again(const LayerNormRows& rows);

struct LayerNormBackwardRows {
  std::size_t num_rows, width;
  const float* dy;
  const float* x;
  const float* mean;
  const float* rstd;
  const float* weight;
  const float* residual;   ///< added to dx; null: nothing is; may be dx
  float* dx;               ///< may be dy
  float* weight_gradient;  ///< [width], added to in the order of the rows; null: not wanted
  float* bias_gradient;    ///< the same
};
void layer_norm_backward(const LayerNormBackwardRows& rows);

}  // namespace sluice::kernel
