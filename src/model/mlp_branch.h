// The second half of a decoder layer: x + down(silu(gate(n)) * up(n)), n = norm(x). Forward and backward by hand; gate
// and up are saved, everything else is made again.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "model/joined_linear.h"

namespace sluice::model {

/// Parameters, or their gradients.
struct MlpWeights {
  at::Tensor norm;
  JoinedLinear gate_up;
  Linear down;
  /// In the order of their parameters.
  [[nodiscard]] std::vector<Linear*> linears() { return {&gate_up[0], &gate_up[1], &down}; }
};

/// What the backward needs: the branch's own input x as well, for nobody else keeps it.
struct SavedMlp {
  at::Tensor x, rstd, gate_up;  // [T,D]; [T,1]; [T,2F]
};

class MlpBranch {
 public:
  using Weights = MlpWeights;
  using Saved = SavedMlp;
  explicit MlpBranch(double norm_eps) : norm_eps_(norm_eps) {}
  /// x [T,D] -> x + branch, in the memory of `x`, which is consumed.
  [[nodiscard]] at::Tensor forward(const MlpWeights& p, at::Tensor x) const;
  /// What `backward` needs, without the output.
  [[nodiscard]] SavedMlp save(const MlpWeights& p, at::Tensor x) const;
  /// The output that belongs to `saved`, fresh.
  [[nodiscard]] at::Tensor output(const MlpWeights& p, const SavedMlp& saved) const;
  /// Adds parameter gradients into `g`; returns the gradient of x (residual included), fresh. Consumes `saved`.
  [[nodiscard]] at::Tensor backward(const MlpWeights& p, const MlpWeights& g, SavedMlp saved,
                                    const at::Tensor& dy) const;

 private:
  double norm_eps_;
};

}  // namespace sluice::model
