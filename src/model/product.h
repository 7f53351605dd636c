// Products of matrices with a weight, of every block, in the run's compute dtype: the numbers that are multiplied are
// fp32, or rounded to bf16 or fp16 as torch's autocast rounds them; sums and results are fp32 always. Rounded copies
// are the caller's temporaries, so that one serves several products. On a CPU fp16 numbers are multiplied as the fp32
// ones that they are.
#pragma once
#include <ATen/core/Tensor.h>

#include "base/narrow.h"

namespace sluice::model {

/// `x`, a weight as it is held (held_weight.h) or fp32 numbers, as products of this compute dtype take it: itself where
/// it has that dtype, else in fresh memory without gaps between rows, rounded to the nearest, ties to even.
[[nodiscard]] at::Tensor product_input(const at::Tensor& x, NumberFormat compute);
/// The same in the dtype of another input of the same product.
[[nodiscard]] at::Tensor input_like(const at::Tensor& other, const at::Tensor& x);

// In the following a [m,k] and b [k,n] have one dtype, fp32, bf16 or fp16; each, or its transpose, has rows of
// neighbouring elements.

/// a b [m,n], fp32, in fresh memory.
[[nodiscard]] at::Tensor product(const at::Tensor& a, const at::Tensor& b);
/// The same with `row` [n] added to each row.
[[nodiscard]] at::Tensor product_plus(const at::Tensor& row, const at::Tensor& a, const at::Tensor& b);
/// c = a b. Rows of `c`, or of its transpose, may lie apart.
void product_out(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b);
/// c += scale * a b.
void add_product(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, double scale = 1);

}  // namespace sluice::model
