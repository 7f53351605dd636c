// Layer normalisation of rows: y = (x - mean) * rstd * w + b. Mean and rstd alone need be saved: y is made again in the
// backward.
#pragma once
#include <ATen/core/Tensor.h>

namespace sluice::model {

/// A norm's parameters [D] (bias: undefined where the kind of norm has none), or their gradients (undefined: not
/// trained).
struct NormWeights {
  at::Tensor weight, bias;
};

struct LayerNormResult {
  at::Tensor y;           ///< [T,D]
  at::Tensor statistics;  ///< [2,T]: mean, rstd
};

[[nodiscard]] LayerNormResult layer_norm(const at::Tensor& x, const NormWeights& p, double eps);

/// What the forward worked on.
struct LayerNormInputs {
  const at::Tensor& x;
  const at::Tensor& statistics;
  const NormWeights& p;
};

/// y again, same bits.
[[nodiscard]] at::Tensor layer_norm_again(const LayerNormInputs& in);
/// dx = residual (undefined: 0) + the gradient through the norm of dy. `dx` may be the memory of `dy` or of `residual`.
/// Adds parameter gradients into `g`.
void layer_norm_backward(const LayerNormInputs& in, const at::Tensor& dy, const at::Tensor& residual,
                         const at::Tensor& dx, const NormWeights& g);

}  // namespace sluice::model
