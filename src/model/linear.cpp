#include "model/linear.h"

#include <ATen/ATen.h>

#include "model/row_kernel.h"

namespace sluice::model {

at::Tensor linear(const Linear& p, const at::Tensor& x) {
  const at::Tensor y = p.bias.defined() ? at::addmm(p.bias, x, p.weight.t()) : at::mm(x, p.weight.t());
  add_low_rank(p.adapter, x, y);
  return y;
}

void add_linear(const Linear& p, const at::Tensor& x, at::Tensor& y) {
  y.addmm_(x, p.weight.t());
  if (p.bias.defined()) y.add_(p.bias);
  add_low_rank(p.adapter, x, y);
}

void add_linear_gradients(const Linear& p, const Linear& gradient, const at::Tensor& dy, const at::Tensor& x) {
  if (gradient.weight.defined()) gradient.weight.addmm_(dy.t(), x);
  if (gradient.bias.defined()) add_column_sums(dy, gradient.bias);
  add_low_rank_gradients(p.adapter, gradient.adapter, dy, x);
}

bool wants_gradient(const Linear& gradient) {
  return gradient.weight.defined() || gradient.bias.defined() || gradient.adapter.a.defined() ||
         gradient.adapter.b.defined();
}

at::Tensor linear_backward(const Linear& p, const at::Tensor& dy) {
  const at::Tensor dx = at::mm(dy, p.weight);
  add_low_rank_backward(p.adapter, dy, dx);
  return dx;
}

}  // namespace sluice::model
