#include "model/mlp_branch.h"

#include <ATen/ATen.h>

#include <utility>

#include "model/rms_norm.h"
#include "model/swiglu.h"

namespace sluice::model {

SavedMlp MlpBranch::save(const MlpWeights& p, at::Tensor x) const {
  const NormResult norm = rms_norm(x, p.norm, norm_eps_);
  return {std::move(x), norm.rstd, linear(p.gate, norm.y), linear(p.up, norm.y)};
}

at::Tensor MlpBranch::forward(const MlpWeights& p, at::Tensor x) const {
  SavedMlp parts = save(p, std::move(x));
  swiglu(parts.gate, parts.gate, parts.up);
  parts.up.reset();
  add_linear(p.down, parts.gate, parts.x);
  return parts.x;
}

at::Tensor MlpBranch::output(const MlpWeights& p, const SavedMlp& saved) const {
  at::Tensor activation = at::empty_like(saved.gate);
  swiglu(activation, saved.gate, saved.up);
  at::Tensor y = saved.x.clone();
  add_linear(p.down, activation, y);
  return y;
}

at::Tensor MlpBranch::backward(const MlpWeights& p, const MlpWeights& g, SavedMlp saved, const at::Tensor& dy) const {
  at::Tensor d_up = at::empty_like(saved.gate);  // the activation, then its gradient, then that of up
  swiglu(d_up, saved.gate, saved.up);
  add_linear_gradients(g.down, dy, d_up);
  at::mm_out(d_up, dy, p.down.weight);
  swiglu_backward_in_place(d_up, saved.gate, saved.up);
  const at::Tensor d_gate = std::exchange(saved.up, {});
  saved.gate.reset();
  {
    const at::Tensor normalised = rms_norm_again(saved.x, saved.rstd, p.norm);
    add_linear_gradients(g.gate, d_gate, normalised);
    add_linear_gradients(g.up, d_up, normalised);
  }
  at::Tensor d_normalised = linear_backward(p.gate, d_gate);
  add_linear_backward(p.up, d_up, d_normalised);
  d_up.reset();
  at::Tensor dx = dy.clone();
  add_rms_norm_backward(d_normalised, saved.x, saved.rstd, p.norm, g.norm, dx);
  return dx;
}

}  // namespace sluice::model
