#include "model/gelu.h"

#include <ATen/ATen.h>

#include <string>

#include "base/error.h"
#include "model/place.h"
#include "model/row_kernel.h"
#include "model/torch_operators.h"

namespace sluice::model {
namespace {

void write_gelu(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& out, kernel::Gelu form) {
  if (!begin_pass(x, 2 * bytes_of(x), 20 * x.numel())) return;
  const std::int64_t width = x.size(1);
  for_rows(x.size(0), width, [&](std::int64_t first, std::int64_t last) {
    kernel::gelu({.num_rows = static_cast<std::size_t>(last - first),
                  .width = static_cast<std::size_t>(width),
                  .x = read_data(x) + first * width,
                  .bias = read_data(bias),
                  .out = write_data(out) + first * width},
                 form);
  });
}

}  // namespace

kernel::Gelu gelu_form(std::string_view activation) {
  if (activation == "gelu") return kernel::Gelu::Exact;
  if (activation == "gelu_new" || activation == "gelu_pytorch_tanh") return kernel::Gelu::Tanh;
  throw ConfigError("model.gpt2", "unsupported activation '" + std::string(activation) + "'",
                    "supported are gelu_new, gelu_pytorch_tanh and gelu");
}

at::Tensor gelu(const at::Tensor& x, const at::Tensor& bias, kernel::Gelu form) {
  if (uses_torch()) return torch_operators::gelu(x, bias, form);
  at::Tensor out = at::empty_like(x);
  write_gelu(x, bias, out, form);
  return out;
}

void gelu_in_place(const at::Tensor& x, const at::Tensor& bias, kernel::Gelu form) {
  if (uses_torch()) return torch_operators::gelu_in_place(x, bias, form);
  write_gelu(x, bias, x, form);
}

void gelu_backward_in_place(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                            const at::Tensor& bias_gradient, kernel::Gelu form) {
  if (uses_torch()) return torch_operators::gelu_backward_in_place(dy, x, bias, bias_gradient, form);
  const std::int64_t width = x.size(1);
  (void)begin_pass(x, 4 * bytes_of(x), 30 * x.numel());
  add_row_sums({&bias_gradient, 1}, {x.size(0), width, x.options()},
               [&](std::int64_t first, std::int64_t last, std::span<float* const> partials) {
                 kernel::gelu_backward({.num_rows = static_cast<std::size_t>(last - first),
                                        .width = static_cast<std::size_t>(width),
                                        .bias = read_data(bias),
                                        .dy = write_data(dy) + first * width,
                                        .x = write_data(x) + first * width,
                                        .bias_gradient = partials[0]},
                                       form);
               });
}

}  // namespace sluice::model
