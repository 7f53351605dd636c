#include "model/gelu_mlp_branch.h"

#include <ATen/ATen.h>

#include <utility>

namespace sluice::model {

SavedGeluMlp GeluMlpBranch::save(const GeluMlpWeights& p, at::Tensor x) const {
  LayerNormResult norm = layer_norm(x, p.norm, norm_eps_);
  return {std::move(x), std::move(norm.statistics), linear({p.fc.weight, {}, p.fc.adapter, p.fc.compute}, norm.y)};
}

at::Tensor GeluMlpBranch::forward(const GeluMlpWeights& p, at::Tensor x) const {
  const SavedGeluMlp parts = save(p, std::move(x));
  gelu_in_place(parts.product, p.fc.bias, form_);
  at::Tensor y = parts.x;
  add_linear(p.proj, parts.product, y);
  return y;
}

at::Tensor GeluMlpBranch::output(const GeluMlpWeights& p, const SavedGeluMlp& saved) const {
  const at::Tensor activation = gelu(saved.product, p.fc.bias, form_);
  at::Tensor y = saved.x.clone();
  add_linear(p.proj, activation, y);
  return y;
}

at::Tensor GeluMlpBranch::backward(const GeluMlpWeights& p, const GeluMlpWeights& g, SavedGeluMlp saved,
                                   const at::Tensor& dy) const {
  {
    const OutputGradient d_y = make_output_gradient(p.proj, dy);
    const at::Tensor activation = linear_backward(p.proj, d_y);  // its gradient first
    gelu_backward_in_place(activation, saved.product, p.fc.bias, g.fc.bias, form_);
    add_linear_gradients(p.proj, g.proj, d_y, activation);
  }
  const OutputGradient d_product = make_output_gradient(p.fc, std::exchange(saved.product, {}));
  const Linear wanted{g.fc.weight, {}, g.fc.adapter};
  if (wants_gradient(wanted))
    add_linear_gradients(p.fc, wanted, d_product, layer_norm_again({saved.x, saved.statistics, p.norm}));
  at::Tensor dx = linear_backward(p.fc, d_product);
  layer_norm_backward({saved.x, saved.statistics, p.norm}, dx, /*residual=*/dy, dx, g.norm);
  return dx;
}

}  // namespace sluice::model
