#include "model/linear.h"

#include <ATen/ATen.h>

#include "model/product.h"
#include "model/row_kernel.h"

namespace sluice::model {
namespace {

bool has_magnitude(const Linear& p) { return p.adapter.magnitude.defined(); }

at::Tensor weight_input(const Linear& p) { return product_input(p.weight, p.compute); }

}  // namespace

void complete_linear(const Linear& p, const at::Tensor& input, at::Tensor y) {
  if (!has_magnitude(p)) {
    if (p.bias.defined()) y.add_(p.bias);
    add_low_rank(p.adapter, input, y);
    return;
  }
  add_low_rank(p.adapter, input, y);
  y.mul_(magnitude_factors(p.adapter, p.weight));
  if (p.bias.defined()) y.add_(p.bias);
}

at::Tensor linear(const Linear& p, const at::Tensor& x) {
  const at::Tensor input = product_input(x, p.compute);
  if (!has_magnitude(p) && p.bias.defined()) {
    const at::Tensor y = product_plus(p.bias, input, weight_input(p).t());
    add_low_rank(p.adapter, input, y);
    return y;
  }
  const at::Tensor y = product(input, weight_input(p).t());
  complete_linear(p, input, y);
  return y;
}

void add_linear(const Linear& p, const at::Tensor& x, at::Tensor& y) {
  if (has_magnitude(p)) {
    y.add_(linear(p, x));
    return;
  }
  const at::Tensor input = product_input(x, p.compute);
  add_product(y, input, weight_input(p).t());
  complete_linear(p, input, y);
}

OutputGradient make_output_gradient(const Linear& p, const at::Tensor& dy) {
  const at::Tensor dz = has_magnitude(p) ? at::mul(dy, magnitude_factors(p.adapter, p.weight)) : dy;
  return {dy, product_input(dz, p.compute)};
}

// dm = sum over the rows of dy * (x W'^T) / |W'|: the product is made again.
void add_magnitude_gradient(const Linear& p, const Linear& gradient, const at::Tensor& dy, const at::Tensor& input) {
  if (!gradient.adapter.magnitude.defined()) return;
  at::Tensor y = product(input, weight_input(p).t());
  add_low_rank(p.adapter, input, y);
  y.mul_(dy).div_(adapted_row_norms(p.adapter, p.weight));
  add_column_sums(y, gradient.adapter.magnitude);
}

void add_linear_gradients(const Linear& p, const Linear& gradient, const OutputGradient& d, const at::Tensor& x) {
  if (!wants_gradient(gradient)) return;
  const at::Tensor input = product_input(x, p.compute);
  add_magnitude_gradient(p, gradient, d.dy, input);
  if (gradient.bias.defined()) add_column_sums(d.dy, gradient.bias);
  if (gradient.weight.defined()) add_product(gradient.weight, d.input.t(), input);
  add_low_rank_gradients(p.adapter, gradient.adapter, d.input, input);
}

bool wants_gradient(const Linear& gradient) {
  return gradient.weight.defined() || gradient.bias.defined() || gradient.adapter.a.defined() ||
         gradient.adapter.b.defined() || gradient.adapter.magnitude.defined();
}

at::Tensor linear_backward(const Linear& p, const OutputGradient& d) {
  const at::Tensor dx = product(d.input, weight_input(p));
  add_low_rank_backward(p.adapter, d.input, dx);
  return dx;
}

}  // namespace sluice::model
