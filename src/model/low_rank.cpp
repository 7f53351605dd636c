#include "model/low_rank.h"

#include <ATen/ATen.h>

#include "model/held_weight.h"
#include "model/product.h"

namespace sluice::model {

void add_low_rank(const LowRank& p, const at::Tensor& x, const at::Tensor& y) {
  if (!p.a.defined()) return;
  const at::Tensor xa = input_like(x, product(x, input_like(x, p.a).t()));
  add_product(y, xa, input_like(x, p.b).t(), p.scale);
}

void add_low_rank_gradients(const LowRank& p, const LowRank& gradients, const at::Tensor& dy, const at::Tensor& x) {
  if (gradients.b.defined()) {
    const at::Tensor xa = input_like(x, product(x, input_like(x, p.a).t()));
    add_product(gradients.b, dy.t(), xa, p.scale);
  }
  if (gradients.a.defined()) {
    const at::Tensor dyb = input_like(dy, product(dy, input_like(dy, p.b)));
    add_product(gradients.a, dyb.t(), x, p.scale);
  }
}

void add_low_rank_backward(const LowRank& p, const at::Tensor& dy, const at::Tensor& dx) {
  if (!p.a.defined()) return;
  const at::Tensor dyb = input_like(dy, product(dy, input_like(dy, p.b)));
  add_product(dx, dyb, input_like(dy, p.a), p.scale);
}

// |w + s a|^2 = |w|^2 + 2 s w.a + s^2 |a|^2 per row, with a = b A: products with r columns are all that it takes. A
// norm: in fp32, whatever the block's products multiply.
at::Tensor adapted_row_norms(const LowRank& p, const at::Tensor& weight) {
  const at::Tensor w = wide_weight(weight), a = wide_weight(p.a), b = wide_weight(p.b);
  const at::Tensor products = at::addmm(at::mm(w, a.t()), b, at::mm(a, a.t()), 2 * p.scale, p.scale * p.scale);
  at::Tensor norms = at::linalg_vector_norm(w, 2, at::IntArrayRef{1});
  return norms.square_().add_(products.mul_(b).sum(1)).sqrt_();
}

at::Tensor magnitude_factors(const LowRank& p, const at::Tensor& weight) {
  return adapted_row_norms(p, weight).reciprocal_().mul_(p.magnitude);
}

}  // namespace sluice::model
