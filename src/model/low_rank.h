// A low-rank adapter beside a linear map: y += scale * (x A^T) B^T with A [r,in], B [out,r]. Products with r columns
// are small, so nothing is saved for the backward: x A^T is made again. With a magnitude per output (DoRA, arXiv
// 2402.09353) the adapted matrix has rows of that length, and its own length counts as constant in the backward.
#pragma once
#include <ATen/core/Tensor.h>

namespace sluice::model {

/// Parameters, or their gradients (`scale` unused). Undefined A and B: there is no adapter, and nothing is done.
struct LowRank {
  at::Tensor a, b;
  at::Tensor magnitude = {};  ///< [out]; undefined: rows are as long as they are
  double scale = 0;
};

// x and dy are as products take them (product.h): the others follow their dtype.

/// y += scale * (x A^T) B^T. Rows of `y` may lie apart.
void add_low_rank(const LowRank& p, const at::Tensor& x, const at::Tensor& y);
/// Adds the gradients of A and B into `gradients`; an undefined one is not wanted.
void add_low_rank_gradients(const LowRank& p, const LowRank& gradients, const at::Tensor& dy, const at::Tensor& x);
/// dx += scale * (dy B) A.
void add_low_rank_backward(const LowRank& p, const at::Tensor& dy, const at::Tensor& dx);

/// |W + scale B A| per row [out], for `weight` [out,in], without making that matrix.
[[nodiscard]] at::Tensor adapted_row_norms(const LowRank& p, const at::Tensor& weight);
/// magnitude / |W + scale B A| [out], by which what comes before the bias is multiplied.
[[nodiscard]] at::Tensor magnitude_factors(const LowRank& p, const at::Tensor& weight);

}  // namespace sluice::model
