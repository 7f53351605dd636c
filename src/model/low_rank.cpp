#include "model/low_rank.h"

#include <ATen/ATen.h>

namespace sluice::model {

void add_low_rank(const LowRank& p, const at::Tensor& x, const at::Tensor& y) {
  if (p.a.defined()) y.addmm_(at::mm(x, p.a.t()), p.b.t(), 1, p.scale);
}

void add_low_rank_gradients(const LowRank& p, const LowRank& gradients, const at::Tensor& dy, const at::Tensor& x) {
  if (gradients.b.defined()) gradients.b.addmm_(dy.t(), at::mm(x, p.a.t()), 1, p.scale);
  if (gradients.a.defined()) gradients.a.addmm_(at::mm(dy, p.b).t(), x, 1, p.scale);
}

void add_low_rank_backward(const LowRank& p, const at::Tensor& dy, const at::Tensor& dx) {
  if (p.a.defined()) dx.addmm_(at::mm(dy, p.b), p.a, 1, p.scale);
}

// |w + s a|^2 = |w|^2 + 2 s w.a + s^2 |a|^2 per row, with a = b A: products with r columns are all that it takes.
at::Tensor adapted_row_norms(const LowRank& p, const at::Tensor& weight) {
  const at::Tensor products =
      at::addmm(at::mm(weight, p.a.t()), p.b, at::mm(p.a, p.a.t()), 2 * p.scale, p.scale * p.scale);
  at::Tensor norms = at::linalg_vector_norm(weight, 2, at::IntArrayRef{1});
  return norms.square_().add_(products.mul_(p.b).sum(1)).sqrt_();
}

at::Tensor magnitude_factors(const LowRank& p, const at::Tensor& weight) {
  return adapted_row_norms(p, weight).reciprocal_().mul_(p.magnitude);
}

}  // namespace sluice::model
