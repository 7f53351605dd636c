#include "kernel/swiglu.h"

#include "base/isa.h"
#include "kernel/lanes.h"

namespace sluice::kernel {
namespace {

struct Forward {
  const SwigluRows& rows;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    const std::size_t width = rows.width;
    for (std::size_t row = 0; row < num_rows; ++row) {
      const float* __restrict const gate = rows.gate + row * rows.stride;
      const float* __restrict const up = rows.up + row * rows.stride;
      float* __restrict const out = rows.out + row * width;
      for (std::size_t i = 0; i < width; ++i) out[i] = gate[i] * fast_sigmoid(gate[i]) * up[i];
    }
  }
};

struct Backward {
  const SwigluRows& rows;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    const std::size_t width = rows.width;
    for (std::size_t row = 0; row < num_rows; ++row) {
      float* __restrict const gate = rows.gate + row * rows.stride;
      float* __restrict const up = rows.up + row * rows.stride;
      float* __restrict const out = rows.out + row * width;
      for (std::size_t i = 0; i < width; ++i) {
        const float g = gate[i], u = up[i], d = out[i];
        const float sigmoid = fast_sigmoid(g), silu = g * sigmoid;
        out[i] = silu * u;
        up[i] = d * silu;
        gate[i] = d * u * (sigmoid + silu * (1.0F - sigmoid));
      }
    }
  }
};

}  // namespace

void swiglu(const SwigluRows& rows) { run_widest(Forward{rows}, rows.num_rows); }
void swiglu_backward(const SwigluRows& rows) { run_widest(Backward{rows}, rows.num_rows); }

}  // namespace sluice::kernel
