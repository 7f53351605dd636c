// The gated activation silu(gate) * up on rows [T,F]. Gate and up are views of equal strides; they alone are saved.
#pragma once
#include <ATen/core/Tensor.h>

namespace sluice::model {

/// silu(gate) * up in fresh memory.
[[nodiscard]] at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);
/// In: gate, up, and in `dy` the gradient of silu(gate) * up. Out: the gradients of gate and up in their places, and in
/// `dy` silu(gate) * up again, same bits as `swiglu`.
void swiglu_backward_in_place(const at::Tensor& dy, const at::Tensor& gate, const at::Tensor& up);

}  // namespace sluice::model
