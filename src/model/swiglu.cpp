#include "model/swiglu.h"

#include <ATen/ATen.h>

#include "model/row_tile.h"

namespace sluice::model {

void swiglu(at::Tensor& out, const at::Tensor& gate, const at::Tensor& up) {
  at::silu_out(out, gate);
  out.mul_(up);
}

void swiglu_backward_in_place(at::Tensor& dy, const at::Tensor& gate, at::Tensor& up) {
  const std::int64_t num_rows = gate.size(0), tile = row_tile(num_rows, gate.size(1));
  at::Tensor silu_tile = at::empty({tile, gate.size(1)}, gate.options());
  for (std::int64_t row = 0; row < num_rows; row += tile) {
    const std::int64_t n = std::min(tile, num_rows - row);
    at::Tensor silu = silu_tile.narrow(0, 0, n), gate_rows = gate.narrow(0, row, n);
    at::Tensor dy_rows = dy.narrow(0, row, n), up_rows = up.narrow(0, row, n);
    at::silu_out(silu, gate_rows);
    up_rows.mul_(dy_rows);
    dy_rows.mul_(silu);
    at::silu_backward_out(up_rows, up_rows, gate_rows);
  }
}

}  // namespace sluice::model
