#include "model/swiglu.h"

#include <ATen/ATen.h>

#include "base/check.h"
#include "kernel/swiglu.h"
#include "model/place.h"
#include "model/row_kernel.h"
#include "model/torch_operators.h"

namespace sluice::model {
namespace {

kernel::SwigluRows rows_of(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& out, std::int64_t first,
                           std::int64_t last) {
  const std::int64_t width = gate.size(1), stride = gate.stride(0);
  SLUICE_CHECK(gate.stride(1) == 1 && up.stride(1) == 1 && up.stride(0) == stride, "gate and up differ in strides");
  return {.num_rows = static_cast<std::size_t>(last - first),
          .width = static_cast<std::size_t>(width),
          .stride = static_cast<std::size_t>(stride),
          .gate = gate.mutable_data_ptr<float>() + first * stride,
          .up = up.mutable_data_ptr<float>() + first * stride,
          .out = write_data(out) + first * width};
}

}  // namespace

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  if (uses_torch()) return torch_operators::swiglu(gate, up);
  at::Tensor out = at::empty(gate.sizes(), gate.options());
  if (begin_pass(gate, 3 * bytes_of(gate), 20 * gate.numel())) {
    for_rows(gate.size(0), gate.size(1),
             [&](std::int64_t first, std::int64_t last) { kernel::swiglu(rows_of(gate, up, out, first, last)); });
  }
  return out;
}

void swiglu_backward_in_place(const at::Tensor& dy, const at::Tensor& gate, const at::Tensor& up) {
  if (uses_torch()) return torch_operators::swiglu_backward_in_place(dy, gate, up);
  if (!begin_pass(gate, 6 * bytes_of(gate), 30 * gate.numel())) return;
  for_rows(gate.size(0), gate.size(1),
           [&](std::int64_t first, std::int64_t last) { kernel::swiglu_backward(rows_of(gate, up, dy, first, last)); });
}

}  // namespace sluice::model
