// Weights as memory holds them. Computations take a parameter in any of these formats: matrices go to products as they
// are, or in the dtype that is multiplied (product.h); all else is widened where it is used.
#pragma once
#include <ATen/core/Tensor.h>

#include "base/narrow.h"

namespace sluice::model {

/// Torch's dtype of numbers that are held in this format: fp32, bf16, fp16, or the codes of fp8 (times kFp8Unit).
[[nodiscard]] at::ScalarType held_type(NumberFormat held);
[[nodiscard]] NumberFormat held_format(at::ScalarType type);

/// The numbers in `type`, fp32, bf16 or fp16: `weight` itself, or in fresh memory without gaps between rows. Exact, but
/// for those that `type` has not, which are rounded to the nearest, ties to even. An undefined tensor stays one.
[[nodiscard]] at::Tensor weight_as(at::ScalarType type, const at::Tensor& weight);
[[nodiscard]] inline at::Tensor wide_weight(const at::Tensor& weight) { return weight_as(at::kFloat, weight); }

}  // namespace sluice::model
