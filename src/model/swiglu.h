// The gated activation silu(gate) * up on rows [T,F]. Gate and up alone are saved; the backward works in their memory.
#pragma once
#include <ATen/core/Tensor.h>

namespace sluice::model {

/// out = silu(gate) * up; `out` may be `gate`.
void swiglu(at::Tensor& out, const at::Tensor& gate, const at::Tensor& up);
/// In: dy, gate, up. Out: `dy` holds the gradient of up, `up` that of gate.
void swiglu_backward_in_place(at::Tensor& dy, const at::Tensor& gate, at::Tensor& up);

}  // namespace sluice::model
