#include "model/layer_norm.h"

#include <ATen/ATen.h>

#include <array>

#include "kernel/layer_norm.h"
#include "model/place.h"
#include "model/row_kernel.h"
#include "model/torch_operators.h"

namespace sluice::model {
namespace {

// Rows from `first` on, as the kernel takes them.
kernel::LayerNormRows rows_of(const LayerNormInputs& in, const at::Tensor& y, std::int64_t first, std::int64_t last) {
  const std::int64_t width = in.x.size(1);
  float* const mean = write_data(in.statistics);
  return {.num_rows = static_cast<std::size_t>(last - first),
          .width = static_cast<std::size_t>(width),
          .x = read_data(in.x) + first * width,
          .weight = read_data(in.p.weight),
          .bias = read_data(in.p.bias),
          .mean = mean + first,
          .rstd = mean + in.x.size(0) + first,
          .y = write_data(y) + first * width};
}

}  // namespace

LayerNormResult layer_norm(const at::Tensor& x, const NormWeights& p, double eps) {
  if (uses_torch()) return torch_operators::layer_norm(x, p, eps);
  LayerNormResult result{at::empty_like(x), at::empty({2, x.size(0)}, x.options())};
  if (begin_pass(x, 2 * bytes_of(x), 7 * x.numel())) {
    for_rows(x.size(0), x.size(1), [&](std::int64_t first, std::int64_t last) {
      kernel::layer_norm(rows_of({x, result.statistics, p}, result.y, first, last), static_cast<float>(eps));
    });
  }
  return result;
}

at::Tensor layer_norm_again(const LayerNormInputs& in) {
  if (uses_torch()) return torch_operators::layer_norm_again(in);
  at::Tensor y = at::empty_like(in.x);
  if (begin_pass(in.x, 2 * bytes_of(in.x), 4 * in.x.numel())) {
    for_rows(in.x.size(0), in.x.size(1),
             [&](std::int64_t first, std::int64_t last) { kernel::layer_norm_again(rows_of(in, y, first, last)); });
  }
  return y;
}

void layer_norm_backward(const LayerNormInputs& in, const at::Tensor& dy, const at::Tensor& residual,
                         const at::Tensor& dx, const NormWeights& g) {
  if (uses_torch()) return torch_operators::layer_norm_backward(in, dy, residual, dx, g);
  const std::int64_t num_rows = in.x.size(0), width = in.x.size(1);
  (void)begin_pass(in.x, (residual.defined() ? 4 : 3) * bytes_of(in.x), 15 * in.x.numel());
  const std::array gradients = {g.weight, g.bias};
  add_row_sums(gradients, {num_rows, width, in.x.options()},
               [&](std::int64_t first, std::int64_t last, std::span<float* const> partials) {
                 const std::int64_t from = first * width;
                 const float* const mean = read_data(in.statistics);
                 kernel::layer_norm_backward({.num_rows = static_cast<std::size_t>(last - first),
                                              .width = static_cast<std::size_t>(width),
                                              .dy = read_data(dy) + from,
                                              .x = read_data(in.x) + from,
                                              .mean = mean + first,
                                              .rstd = mean + num_rows + first,
                                              .weight = read_data(in.p.weight),
                                              .residual = residual.defined() ? read_data(residual) + from : nullptr,
                                              .dx = write_data(dx) + from,
                                              .weight_gradient = partials[0],
                                              .bias_gradient = partials[1]});
               });
}

}  // namespace sluice::model
