// The second half of a GPT-2 layer: x + proj(gelu(fc(n))), n = norm(x). Forward and backward by hand; the product of fc
// without its bias is saved, everything else is made again.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "model/gelu.h"
#include "model/layer_norm.h"
#include "model/linear.h"

namespace sluice::model {

/// Parameters, or their gradients.
struct GeluMlpWeights {
  NormWeights norm;
  Linear fc, proj;
  /// In the order of their parameters.
  [[nodiscard]] std::vector<Linear*> linears() { return {&fc, &proj}; }
};

/// What the backward needs: the branch's own input x as well, for nobody else keeps it.
struct SavedGeluMlp {
  at::Tensor x, statistics, product;
};

class GeluMlpBranch {
 public:
  using Weights = GeluMlpWeights;
  using Saved = SavedGeluMlp;
  GeluMlpBranch(double norm_eps, kernel::Gelu form) : norm_eps_(norm_eps), form_(form) {}
  /// x [T,D] -> x + branch, in the memory of `x`, which is consumed.
  [[nodiscard]] at::Tensor forward(const GeluMlpWeights& p, at::Tensor x) const;
  /// What `backward` needs, without the output.
  [[nodiscard]] SavedGeluMlp save(const GeluMlpWeights& p, at::Tensor x) const;
  /// The output that belongs to `saved`, fresh.
  [[nodiscard]] at::Tensor output(const GeluMlpWeights& p, const SavedGeluMlp& saved) const;
  /// Adds parameter gradients into `g`; returns the gradient of x (residual included), fresh. Consumes `saved`.
  [[nodiscard]] at::Tensor backward(const GeluMlpWeights& p, const GeluMlpWeights& g, SavedGeluMlp saved,
                                    const at::Tensor& dy) const;

 private:
  double norm_eps_;
  kernel::Gelu form_;
};

}  // namespace sluice::model
