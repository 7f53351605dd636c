#include "kernel/cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "base/isa.h"
#include "kernel/lanes.h"

namespace sluice::kernel {
namespace {

struct Losses {
  const CrossEntropyRows& rows;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    for (std::size_t row = 0; row < num_rows; ++row) {
      const std::int64_t target = rows.targets[row];
      rows.losses[row] = 0;
      if (target < 0) continue;
      const float* const x = rows.logits + row * rows.width;
      const float maximum = lane_max(x, rows.width);
      const float sum = lane_sum(rows.width, [=](std::size_t i) { return fast_exp(x[i] - maximum); });
      rows.losses[row] =
          std::log(static_cast<double>(sum)) + static_cast<double>(maximum) - static_cast<double>(x[target]);
    }
  }
};

struct Gradient {
  const CrossEntropyRows& rows;
  float scale;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    const std::size_t width = rows.width;
    for (std::size_t row = 0; row < num_rows; ++row) {
      const std::int64_t target = rows.targets[row];
      float* __restrict const x = rows.logits + row * width;
      rows.losses[row] = 0;
      if (target < 0) {
        std::fill(x, x + width, 0.0F);
        continue;
      }
      const float maximum = lane_max(x, width);
      const double target_logit = x[target];
      const float sum = lane_sum(width, [=](std::size_t i) { return x[i] = fast_exp(x[i] - maximum); });
      const float factor = scale / sum;
      for (std::size_t i = 0; i < width; ++i) x[i] *= factor;
      x[target] -= scale;
      rows.losses[row] = std::log(static_cast<double>(sum)) + static_cast<double>(maximum) - target_logit;
    }
  }
};

}  // namespace

void cross_entropy(const CrossEntropyRows& rows) { run_widest(Losses{rows}, rows.num_rows); }

void cross_entropy_gradient(const CrossEntropyRows& rows, float scale) {
  run_widest(Gradient{rows, scale}, rows.num_rows);
}

}  // namespace sluice::kernel
