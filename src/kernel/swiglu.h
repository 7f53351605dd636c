// The gated activation silu(gate) * up, silu(g) = g / (1 + e^-g), in one pass forwards and one back.
#pragma once
#include <cstddef>

namespace sluice::kernel {

/// Rows of `width` elements. Those of gate and up begin `stride` elements apart (halves of one product, or two), those
/// of `out` follow each other.
struct SwigluRows {
  std::size_t num_rows, width, stride;
  float* gate;
  float* up;
  float* out;
};

/// out = silu(gate) * up; gate and up are only read.
void swiglu(const SwigluRows& rows);
/// In: gate, up, and in `out` the gradient of silu(gate) * up. Out: the gradients of gate and of up in their places,
/// and in `out` silu(gate) * up again (the bits of `swiglu`), for the gradient of the weight that follows.
void swiglu_backward(const SwigluRows& rows);

}  // namespace sluice::kernel
