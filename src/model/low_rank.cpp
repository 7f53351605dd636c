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

}  // namespace sluice::model
