#include "model/norm.h"

#include <utility>

#include "model/held_weight.h"
#include "model/rms_norm.h"

namespace sluice::model {

NormWeights Norm::weights(std::span<const at::Tensor> tensors) const {
  return {wide_weight(tensors[0]), kind_ == Kind::Layer ? wide_weight(tensors[1]) : at::Tensor()};
}

Norm::Result Norm::forward(const NormWeights& p, const at::Tensor& x) const {
  if (kind_ == Kind::Layer) {
    LayerNormResult result = layer_norm(x, p, eps_);
    return {std::move(result.y), std::move(result.statistics)};
  }
  NormResult result = rms_norm(x, p.weight, eps_);
  return {std::move(result.y), std::move(result.rstd)};
}

at::Tensor Norm::again(const NormWeights& p, const at::Tensor& x, const at::Tensor& statistics) const {
  return kind_ == Kind::Layer ? layer_norm_again({x, statistics, p}) : rms_norm_again(x, statistics, p.weight);
}

void Norm::backward(const NormWeights& p, const NormWeights& g, const Backward& in) const {
  if (kind_ == Kind::Layer) {
    layer_norm_backward({in.x, in.statistics, p}, in.dy, in.residual, in.dx, g);
  } else {
    rms_norm_backward({in.x, in.statistics, p.weight}, in.dy, in.residual, in.dx, g.weight);
  }
}

}  // namespace sluice::model
