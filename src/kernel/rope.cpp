#include "kernel/rope.h"

#include "base/isa.h"

namespace sluice::kernel {
namespace {

struct Rotate {
  const RotateRows& rows;
  std::size_t first;
  float sign;
  [[gnu::always_inline]] void operator()(std::size_t count) const {
    for (std::size_t row = first; row < first + count; ++row) {
      const std::size_t position = row % rows.seq_len;
      const float* const cosine = rows.cosine + position * rows.half;
      const float* const sine = rows.sine + position * rows.half;
      for (std::size_t head = 0; head < rows.num_heads; ++head) {
        const std::size_t offset = head * 2 * rows.half;
        turn(cosine, sine, rows.from + row * rows.from_stride + offset, rows.to + row * rows.to_stride + offset);
      }
    }
  }
  [[gnu::always_inline]] void turn(const float* __restrict cosine, const float* __restrict sine, const float* from,
                                   float* to) const {
    const std::size_t half = rows.half;
#pragma GCC ivdep
    for (std::size_t i = 0; i < half; ++i) {
      const float a = from[i], b = from[half + i], s = sine[i] * sign;
      to[i] = a * cosine[i] - b * s;
      to[half + i] = b * cosine[i] + a * s;
    }
  }
};

}  // namespace

void rotate(const RotateRows& rows, std::size_t first, std::size_t last) {
  run_widest(Rotate{rows, first, 1.0F}, last - first);
}

void rotate_back(const RotateRows& rows, std::size_t first, std::size_t last) {
  run_widest(Rotate{rows, first, -1.0F}, last - first);
}

}  // namespace sluice::kernel
