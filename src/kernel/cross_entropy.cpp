#include "kernel/cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "base/isa.h"
#include "kernel/lanes.h"

namespace sluice::kernel {
namespace {

struct AddToSoftmax {
  const SoftmaxRows& rows;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    const auto width = static_cast<std::int64_t>(rows.width);
    for (std::size_t row = 0; row < num_rows; ++row) {
      if (rows.targets[row] < 0) continue;
      const float* const x = rows.logits + row * rows.width;
      const bool begins = rows.first_column == 0;
      float largest = lane_max(x, rows.width), before = 0;
      if (!begins) {
        largest = rows.largest[row] < largest ? largest : rows.largest[row];
        before = rows.sum[row] * fast_exp(rows.largest[row] - largest);
      }
      const float added = lane_sum(rows.width, [=](std::size_t i) { return fast_exp(x[i] - largest); });
      rows.largest[row] = largest;
      rows.sum[row] = before + added;
      const std::int64_t target = rows.targets[row] - rows.first_column;
      if (target >= 0 && target < width) rows.target_logit[row] = x[target];
    }
  }
};

struct Gradient {
  const SoftmaxRows& rows;
  float scale;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    const std::size_t width = rows.width;
    for (std::size_t row = 0; row < num_rows; ++row) {
      float* __restrict const x = rows.logits + row * width;
      if (rows.targets[row] < 0) {
        std::fill(x, x + width, 0.0F);
        continue;
      }
      const float largest = rows.largest[row], factor = scale / rows.sum[row];
      for (std::size_t i = 0; i < width; ++i) x[i] = fast_exp(x[i] - largest) * factor;
      const std::int64_t target = rows.targets[row] - rows.first_column;
      if (target >= 0 && target < static_cast<std::int64_t>(width)) x[target] -= scale;
    }
  }
};

}  // namespace

void add_to_softmax(const SoftmaxRows& rows) { run_widest(AddToSoftmax{rows}, rows.num_rows); }

void softmax_gradient(const SoftmaxRows& rows, float scale) { run_widest(Gradient{rows, scale}, rows.num_rows); }

double cross_entropy(const SoftmaxRows& rows, std::size_t row) {
  if (rows.targets[row] < 0) return 0;
  return std::log(static_cast<double>(rows.sum[row])) + static_cast<double>(rows.largest[row]) -
         static_cast<double>(rows.target_logit[row]);
}

}  // namespace sluice::kernel
