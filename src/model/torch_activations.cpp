#include <ATen/ATen.h>

#include "model/torch_operators.h"

namespace sluice::model::torch_operators {
namespace {

c10::string_view approximation(kernel::Gelu form) { return form == kernel::Gelu::Tanh ? "tanh" : "none"; }

}  // namespace

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  at::Tensor out = at::empty(gate.sizes(), gate.options());
  at::silu_out(out, gate).mul_(up);
  return out;
}

// With s = sigmoid(gate) and a = gate s: d(a)/d(gate) = s + a - a s.
void swiglu_backward_in_place(at::Tensor dy, at::Tensor gate, at::Tensor up) {
  at::Tensor a = at::empty(gate.sizes(), gate.options()), slope = at::empty(gate.sizes(), gate.options());
  at::sigmoid_out(slope, gate);
  at::mul_out(a, gate, slope);
  slope.addcmul_(a, slope, -1).add_(a);
  slope.mul_(dy).mul_(up);
  gate.copy_(slope);
  at::mul_out(slope, a, up);  // the activation again
  at::mul_out(up, dy, a);
  dy.copy_(slope);
}

at::Tensor gelu(const at::Tensor& x, const at::Tensor& bias, kernel::Gelu form) {
  at::Tensor out = at::add(x, bias);
  at::gelu_(out, approximation(form));
  return out;
}

void gelu_in_place(at::Tensor x, const at::Tensor& bias, kernel::Gelu form) {
  at::gelu_(x.add_(bias), approximation(form));
}

void gelu_backward_in_place(at::Tensor dy, at::Tensor x, const at::Tensor& bias, at::Tensor bias_gradient,
                            kernel::Gelu form) {
  at::Tensor input = at::add(x, bias);
  at::gelu_backward_out(x, dy, input, approximation(form));
  dy.copy_(at::gelu_(input, approximation(form)));
  if (bias_gradient.defined()) bias_gradient.add_(x.sum(0));
}

at::Tensor rotations(std::span<const float> frequencies, std::int64_t first, std::int64_t n, c10::Device device) {
  const at::TensorOptions options = at::TensorOptions(device).dtype(at::kFloat);
  const auto half = static_cast<std::int64_t>(frequencies.size());
  at::Tensor of_pairs = at::empty({half}, options);
  if (!device.is_meta()) of_pairs.copy_(at::from_blob(const_cast<float*>(frequencies.data()), {half}));
  const at::Tensor angles = at::arange(first, first + n, options).unsqueeze(1).mul(of_pairs);
  at::Tensor table = at::empty({2, n, 1, half}, options);
  at::Tensor cosine = table.select(0, 0).squeeze(1), sine = table.select(0, 1).squeeze(1);
  at::cos_out(cosine, angles);
  at::sin_out(sine, angles);
  return table;
}

void turn(const at::Tensor& from_BSHd, const at::Tensor& to_BSHd, const at::Tensor& table, int sign) {
  const std::int64_t half = from_BSHd.size(3) / 2;
  const at::Tensor a = from_BSHd.narrow(3, 0, half), b = from_BSHd.narrow(3, half, half);
  const at::Tensor cosine = table.select(0, 0), sine = table.select(0, 1);
  at::Tensor first = at::mul(a, cosine).addcmul_(b, sine, -sign), second = at::mul(b, cosine).addcmul_(a, sine, sign);
  to_BSHd.narrow(3, 0, half).copy_(first);
  to_BSHd.narrow(3, half, half).copy_(second);
}

}  // namespace sluice::model::torch_operators
