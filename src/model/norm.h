// The norm of a family, of either kind, for the blocks that families share.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <span>

#include "model/layer_norm.h"

namespace sluice::model {

class Norm {
 public:
  enum class Kind { Rms, Layer };
  Norm(Kind kind, double eps) : kind_(kind), eps_(eps) {}
  /// RMSNorm has a weight, LayerNorm a weight and a bias.
  [[nodiscard]] std::size_t num_parameters() const { return kind_ == Kind::Rms ? 1 : 2; }
  /// The first of a block's parameters, or of their gradients, as those of this norm.
  [[nodiscard]] NormWeights weights(std::span<const at::Tensor> tensors) const;

  struct Result {
    at::Tensor y;           ///< [T,D]
    at::Tensor statistics;  ///< all that the backward needs beside x
  };
  [[nodiscard]] Result forward(const NormWeights& p, const at::Tensor& x) const;
  /// y again, same bits.
  [[nodiscard]] at::Tensor again(const NormWeights& p, const at::Tensor& x, const at::Tensor& statistics) const;
  /// What the backward is given: dx = residual (undefined: 0) + the gradient through the norm of dy. `dx` may be the
  /// memory of `dy` or of `residual`.
  struct Backward {
    const at::Tensor& x;
    const at::Tensor& statistics;
    const at::Tensor& dy;
    const at::Tensor& residual;
    const at::Tensor& dx;
  };
  /// Adds parameter gradients into `g` (undefined ones are skipped).
  void backward(const NormWeights& p, const NormWeights& g, const Backward& in) const;

 private:
  Kind kind_;
  double eps_;
};

}  // namespace sluice::model
