// The activation GELU of x + bias, row by row, in its two published forms: by tanh, x * sigmoid(2z) with
// z = sqrt(2/pi) * (x + 0.044715 x^3), and exact, x * Phi(x) with the normal distribution function Phi.
#pragma once
#include <cstddef>

namespace sluice::kernel {

enum class Gelu { Tanh, Exact };

struct GeluRows {
  std::size_t num_rows, width;
  const float* x;
  const float* bias;  ///< [width]
  float* out;         ///< may be x
};
/// out = gelu(x + bias). Phi is within 1e-7 of the exact one.
void gelu(const GeluRows& rows, Gelu form);

struct GeluBackwardRows {
  std::size_t num_rows, width;
  const float* bias;
  float* dy;             ///< in: the gradient of the activation; out: the activation, the bits of `gelu`
  float* x;              ///< in: x; out: its gradient
  float* bias_gradient;  ///< [width], added to in the order of the rows; null: not wanted
};
void gelu_backward(const GeluBackwardRows& rows, Gelu form);

}  // namespace sluice::kernel
