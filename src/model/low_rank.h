// A low-rank adapter beside a linear map: y += scale * (x A^T) B^T with A [r,in], B [out,r]. Products with r columns
// are small, so nothing is saved for the backward: x A^T is made again.
#pragma once
#include <ATen/core/Tensor.h>

namespace sluice::model {

/// Parameters, or their gradients (`scale` unused). Undefined A and B: there is no adapter, and nothing is done.
struct LowRank {
  at::Tensor a, b;
  double scale = 0;
};

/// y += scale * (x A^T) B^T. Rows of `y` may lie apart.
void add_low_rank(const LowRank& p, const at::Tensor& x, const at::Tensor& y);
/// Adds the gradients of A and B into `gradients`; an undefined one is not wanted.
void add_low_rank_gradients(const LowRank& p, const LowRank& gradients, const at::Tensor& dy, const at::Tensor& x);
/// dx += scale * (dy B) A.
void add_low_rank_backward(const LowRank& p, const at::Tensor& dy, const at::Tensor& dx);

}  // namespace sluice::model
