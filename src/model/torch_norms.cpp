#include <ATen/ATen.h>

#include <cmath>

#include "model/torch_operators.h"

namespace sluice::model::torch_operators {
namespace {

// 1 / sqrt(mean of squares + eps), of rows.
at::Tensor reciprocal_root(const at::Tensor& x, double eps) {
  const auto width = static_cast<double>(x.size(1));
  return at::linalg_vector_norm(x, 2, at::IntArrayRef{1}, /*keepdim=*/true).square_().div_(width).add_(eps).rsqrt_();
}

void add_sum(const at::Tensor& gradient, const at::Tensor& rows) {
  if (gradient.defined()) gradient.add_(rows.sum(0));
}

void finish(at::Tensor& through, const at::Tensor& rstd, const at::Tensor& residual, const at::Tensor& dx) {
  through.mul_(rstd);
  if (residual.defined()) through.add_(residual);
  dx.copy_(through);
}

at::Tensor normalised(const LayerNormInputs& in) {
  return at::sub(in.x, in.statistics.select(0, 0).unsqueeze(1)).mul_(in.statistics.select(0, 1).unsqueeze(1));
}

}  // namespace

NormResult rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  at::Tensor y = at::empty_like(x);
  at::Tensor rstd = reciprocal_root(x, eps);
  at::mul_out(y, x, rstd).mul_(weight);
  return {y, rstd};
}

at::Tensor rms_norm_again(const at::Tensor& x, const at::Tensor& rstd, const at::Tensor& weight) {
  return at::mul(x, rstd).mul_(weight);
}

// With n = x rstd: dx = rstd (w dy - n mean(w dy n)).
void rms_norm_backward(const NormInputs& in, const at::Tensor& dy, const at::Tensor& residual, const at::Tensor& dx,
                       const at::Tensor& weight_gradient) {
  const at::Tensor n = at::mul(in.x, in.rstd);
  at::Tensor work = at::mul(dy, n);
  add_sum(weight_gradient, work);
  const at::Tensor mean = work.mul_(in.weight).mean(at::IntArrayRef{1}, /*keepdim=*/true);
  at::mul_out(work, dy, in.weight).addcmul_(n, mean, -1);
  finish(work, in.rstd, residual, dx);
}

LayerNormResult layer_norm(const at::Tensor& x, const NormWeights& p, double eps) {
  LayerNormResult result{at::empty_like(x), at::empty({2, x.size(0)}, x.options())};
  const at::Tensor mean = result.statistics.select(0, 0), rstd = result.statistics.select(0, 1);
  mean.copy_(x.mean(at::IntArrayRef{1}));
  at::sub_out(result.y, x, mean.unsqueeze(1));
  rstd.copy_(reciprocal_root(result.y, eps).squeeze(1));
  result.y.mul_(rstd.unsqueeze(1)).mul_(p.weight).add_(p.bias);
  return result;
}

at::Tensor layer_norm_again(const LayerNormInputs& in) { return normalised(in).mul_(in.p.weight).add_(in.p.bias); }

// With n = (x - mean) rstd: dx = rstd (w dy - mean(w dy) - n mean(w dy n)).
void layer_norm_backward(const LayerNormInputs& in, const at::Tensor& dy, const at::Tensor& residual,
                         const at::Tensor& dx, const NormWeights& g) {
  const at::Tensor n = normalised(in);
  at::Tensor work = at::mul(dy, n);
  add_sum(g.weight, work);
  add_sum(g.bias, dy);
  const at::Tensor slope = work.mul_(in.p.weight).mean(at::IntArrayRef{1}, /*keepdim=*/true);
  at::mul_out(work, dy, in.p.weight);
  const at::Tensor mean = work.mean(at::IntArrayRef{1}, /*keepdim=*/true);
  work.sub_(mean).addcmul_(n, slope, -1);
  finish(work, in.statistics.select(0, 1).unsqueeze(1), residual, dx);
}

}  // namespace sluice::model::torch_operators
