#include "model/linear.h"

#include <ATen/ATen.h>

#include "model/row_kernel.h"

namespace sluice::model {

at::Tensor linear(const Linear& p, const at::Tensor& x) {
  return p.bias.defined() ? at::addmm(p.bias, x, p.weight.t()) : at::mm(x, p.weight.t());
}

void add_linear(const Linear& p, const at::Tensor& x, at::Tensor& y) {
  y.addmm_(x, p.weight.t());
  if (p.bias.defined()) y.add_(p.bias);
}

void add_linear_gradients(const Linear& gradient, const at::Tensor& dy, const at::Tensor& x) {
  if (gradient.weight.defined()) gradient.weight.addmm_(dy.t(), x);
  if (gradient.bias.defined()) add_column_sums(dy, gradient.bias);
}

at::Tensor linear_backward(const Linear& p, const at::Tensor& dy) { return at::mm(dy, p.weight); }

void add_linear_backward(const Linear& p, const at::Tensor& dy, at::Tensor& dx) { dx.addmm_(dy, p.weight); }

}  // namespace sluice::model
