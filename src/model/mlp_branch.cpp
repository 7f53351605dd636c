#include "model/mlp_branch.h"

#include <ATen/ATen.h>

#include <utility>

#include "model/rms_norm.h"
#include "model/swiglu.h"

namespace sluice::model {
namespace {

at::Tensor gate_of(const at::Tensor& gate_up) { return gate_up.narrow(1, 0, gate_up.size(1) / 2); }
at::Tensor up_of(const at::Tensor& gate_up) { return gate_up.narrow(1, gate_up.size(1) / 2, gate_up.size(1) / 2); }

at::Tensor activation_of(const at::Tensor& gate_up) { return swiglu(gate_of(gate_up), up_of(gate_up)); }

}  // namespace

SavedMlp MlpBranch::save(const MlpWeights& p, at::Tensor x) const {
  const NormResult norm = rms_norm(x, p.norm, norm_eps_);
  return {std::move(x), norm.rstd, joined_linear(p.gate_up, norm.y)};
}

at::Tensor MlpBranch::forward(const MlpWeights& p, at::Tensor x) const {
  SavedMlp parts = save(p, std::move(x));
  const at::Tensor activation = activation_of(parts.gate_up);
  parts.gate_up.reset();
  add_linear(p.down, activation, parts.x);
  return parts.x;
}

at::Tensor MlpBranch::output(const MlpWeights& p, const SavedMlp& saved) const {
  const at::Tensor activation = activation_of(saved.gate_up);
  at::Tensor y = saved.x.clone();
  add_linear(p.down, activation, y);
  return y;
}

at::Tensor MlpBranch::backward(const MlpWeights& p, const MlpWeights& g, SavedMlp saved, const at::Tensor& dy) const {
  {
    const OutputGradient d_y = make_output_gradient(p.down, dy);
    const at::Tensor activation = linear_backward(p.down, d_y);  // its gradient first
    swiglu_backward_in_place(activation, gate_of(saved.gate_up), up_of(saved.gate_up));
    add_linear_gradients(p.down, g.down, d_y, activation);
  }
  const OutputGradient d_gate_up = make_output_gradient(p.gate_up, std::exchange(saved.gate_up, {}));
  if (wants_gradient(g.gate_up)) {
    const at::Tensor normalised = rms_norm_again(saved.x, saved.rstd, p.norm);
    add_joined_gradients(p.gate_up, g.gate_up, d_gate_up, normalised);
  }
  const at::Tensor dx = joined_backward(p.gate_up, d_gate_up);
  rms_norm_backward({saved.x, saved.rstd, p.norm}, dx, /*residual=*/dy, dx, g.norm);
  return dx;
}

}  // namespace sluice::model
