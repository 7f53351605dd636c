#include "model/rms_norm.h"

#include <ATen/ATen.h>

#include "kernel/rms_norm.h"
#include "model/place.h"
#include "model/row_kernel.h"
#include "model/torch_operators.h"

namespace sluice::model {
namespace {

// Rows from `first` on, as the kernel takes them.
kernel::RmsNormRows rows_of(const NormInputs& in, const at::Tensor& y, std::int64_t first, std::int64_t last) {
  const std::int64_t width = in.x.size(1);
  return {.num_rows = static_cast<std::size_t>(last - first),
          .width = static_cast<std::size_t>(width),
          .x = read_data(in.x) + first * width,
          .weight = read_data(in.weight),
          .rstd = write_data(in.rstd) + first,
          .y = write_data(y) + first * width};
}

}  // namespace

NormResult rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (uses_torch()) return torch_operators::rms_norm(x, weight, eps);
  NormResult result{at::empty_like(x), at::empty({x.size(0), 1}, x.options())};
  if (begin_pass(x, 2 * bytes_of(x), 4 * x.numel())) {
    for_rows(x.size(0), x.size(1), [&](std::int64_t first, std::int64_t last) {
      kernel::rms_norm(rows_of({x, result.rstd, weight}, result.y, first, last), static_cast<float>(eps));
    });
  }
  return result;
}

at::Tensor rms_norm_again(const at::Tensor& x, const at::Tensor& rstd, const at::Tensor& weight) {
  if (uses_torch()) return torch_operators::rms_norm_again(x, rstd, weight);
  at::Tensor y = at::empty_like(x);
  if (begin_pass(x, 2 * bytes_of(x), 2 * x.numel())) {
    for_rows(x.size(0), x.size(1), [&](std::int64_t first, std::int64_t last) {
      kernel::rms_norm_again(rows_of({x, rstd, weight}, y, first, last));
    });
  }
  return y;
}

void rms_norm_backward(const NormInputs& in, const at::Tensor& dy, const at::Tensor& residual, const at::Tensor& dx,
                       const at::Tensor& weight_gradient) {
  if (uses_torch()) return torch_operators::rms_norm_backward(in, dy, residual, dx, weight_gradient);
  const std::int64_t num_rows = in.x.size(0), width = in.x.size(1);
  const bool computes = begin_pass(in.x, (residual.defined() ? 4 : 3) * bytes_of(in.x), 10 * in.x.numel());
  const auto run = [&](std::int64_t first, std::int64_t last, float* partial) {
    const std::int64_t from = first * width;
    kernel::rms_norm_backward({.num_rows = static_cast<std::size_t>(last - first),
                               .width = static_cast<std::size_t>(width),
                               .dy = read_data(dy) + from,
                               .x = read_data(in.x) + from,
                               .rstd = read_data(in.rstd) + first,
                               .weight = read_data(in.weight),
                               .residual = residual.defined() ? read_data(residual) + from : nullptr,
                               .dx = write_data(dx) + from,
                               .weight_gradient = partial});
  };
  if (weight_gradient.defined()) {
    add_row_sums(weight_gradient, num_rows, run);
  } else if (computes) {
    for_rows(num_rows, width, [&](std::int64_t first, std::int64_t last) { run(first, last, nullptr); });
  }
}

}  // namespace sluice::model
