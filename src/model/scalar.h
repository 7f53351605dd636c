// Numbers as operands. A bare C++ number becomes a double tensor that CPU kernels then cast in a second allocation,
// which the meta device does not show; a float tensor is one allocation on every device.
#pragma once
#include <ATen/ATen.h>

namespace sluice::model {

/// An fp32 operand of shape [] in CPU memory, which operators on any device accept.
inline at::Tensor scalar(double value) { return at::scalar_tensor(value, at::TensorOptions().dtype(at::kFloat)); }

}  // namespace sluice::model
