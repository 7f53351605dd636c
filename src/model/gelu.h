// The activation GELU of x + bias on rows [T,F]. x alone is saved; the backward works in its memory.
#pragma once
#include <ATen/core/Tensor.h>

#include <string_view>

#include "kernel/gelu.h"

namespace sluice::model {

/// The form that a config's activation means. Throws ConfigError for one that is no GELU.
[[nodiscard]] kernel::Gelu gelu_form(std::string_view activation);

/// gelu(x + bias), in fresh memory.
[[nodiscard]] at::Tensor gelu(const at::Tensor& x, const at::Tensor& bias, kernel::Gelu form);
/// The same over `x`.
void gelu_in_place(const at::Tensor& x, const at::Tensor& bias, kernel::Gelu form);
/// In: dy, x. Out: `dy` holds gelu(x + bias), `x` the gradient of x. Adds that of bias into `bias_gradient` (unless
/// undefined).
void gelu_backward_in_place(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                            const at::Tensor& bias_gradient, kernel::Gelu form);

}  // namespace sluice::model
