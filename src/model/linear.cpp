#include "model/linear.h"

#include <ATen/ATen.h>

#include "model/row_kernel.h"

namespace sluice::model {
namespace {

bool has_magnitude(const Linear& p) { return p.adapter.magnitude.defined(); }

}  // namespace

void complete_linear(const Linear& p, const at::Tensor& x, at::Tensor y) {
  if (!has_magnitude(p)) {
    if (p.bias.defined()) y.add_(p.bias);
    add_low_rank(p.adapter, x, y);
    return;
  }
  add_low_rank(p.adapter, x, y);
  y.mul_(magnitude_factors(p.adapter, p.weight));
  if (p.bias.defined()) y.add_(p.bias);
}

at::Tensor linear(const Linear& p, const at::Tensor& x) {
  if (!has_magnitude(p) && p.bias.defined()) {
    const at::Tensor y = at::addmm(p.bias, x, p.weight.t());
    add_low_rank(p.adapter, x, y);
    return y;
  }
  const at::Tensor y = at::mm(x, p.weight.t());
  complete_linear(p, x, y);
  return y;
}

void add_linear(const Linear& p, const at::Tensor& x, at::Tensor& y) {
  if (has_magnitude(p)) {
    y.add_(linear(p, x));
    return;
  }
  y.addmm_(x, p.weight.t());
  complete_linear(p, x, y);
}

at::Tensor before_magnitude(const Linear& p, const at::Tensor& dy) {
  return has_magnitude(p) ? at::mul(dy, magnitude_factors(p.adapter, p.weight)) : dy;
}

// dm = sum over the rows of dy * (x W'^T) / |W'|: the product is made again.
void add_magnitude_gradient(const Linear& p, const Linear& gradient, const at::Tensor& dy, const at::Tensor& x) {
  if (!gradient.adapter.magnitude.defined()) return;
  at::Tensor product = at::mm(x, p.weight.t());
  add_low_rank(p.adapter, x, product);
  product.mul_(dy).div_(adapted_row_norms(p.adapter, p.weight));
  add_column_sums(product, gradient.adapter.magnitude);
}

void add_linear_gradients(const Linear& p, const Linear& gradient, const at::Tensor& dy, const at::Tensor& x) {
  if (!wants_gradient(gradient)) return;
  add_magnitude_gradient(p, gradient, dy, x);
  if (gradient.bias.defined()) add_column_sums(dy, gradient.bias);
  const at::Tensor dz = before_magnitude(p, dy);
  if (gradient.weight.defined()) gradient.weight.addmm_(dz.t(), x);
  add_low_rank_gradients(p.adapter, gradient.adapter, dz, x);
}

bool wants_gradient(const Linear& gradient) {
  return gradient.weight.defined() || gradient.bias.defined() || gradient.adapter.a.defined() ||
         gradient.adapter.b.defined() || gradient.adapter.magnitude.defined();
}

at::Tensor linear_backward(const Linear& p, const at::Tensor& dy) {
  const at::Tensor dz = before_magnitude(p, dy);
  const at::Tensor dx = at::mm(dz, p.weight);
  add_low_rank_backward(p.adapter, dz, dx);
  return dx;
}

}  // namespace sluice::model
