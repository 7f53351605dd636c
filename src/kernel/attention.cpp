#include "kernel/attention.h"

#include <algorithm>

#include "base/isa.h"
#include "kernel/lanes.h"

namespace sluice::kernel {
namespace {

[[gnu::always_inline]] inline std::size_t visible_of(const ScoreRows& rows, std::size_t row) {
  return std::min(rows.width, rows.first_visible + row % rows.queries);
}

struct SoftmaxStep {
  const ScoreRows& rows;
  const RunningSoftmax& running;
  bool is_first;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    for (std::size_t row = 0; row < num_rows; ++row) {
      float* const scores = rows.scores + row * rows.width;
      const std::size_t visible = visible_of(rows, row);
      const float before = running.maximum[row], here = lane_max(scores, visible);
      const float maximum = is_first || before < here ? here : before;
      const float sum = lane_sum(visible, [=](std::size_t i) { return scores[i] = fast_exp(scores[i] - maximum); });
      std::fill(scores + visible, scores + rows.width, 0.0F);
      running.maximum[row] = maximum;
      if (is_first) {
        running.sum[row] = sum;
        continue;
      }
      const float factor = fast_exp(before - maximum);
      running.sum[row] = running.sum[row] * factor + sum;
      float* const out = running.out + row * running.width;
      for (std::size_t i = 0; i < running.width; ++i) out[i] *= factor;
    }
  }
};

struct SoftmaxBackward {
  const ScoreRows& rows;
  float* gradient_data;
  const float* logsumexp;
  const float* mean;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    for (std::size_t row = 0; row < num_rows; ++row) {
      float* __restrict const scores = rows.scores + row * rows.width;
      float* __restrict const gradients = gradient_data + row * rows.width;
      const std::size_t visible = visible_of(rows, row);
      const float shift = logsumexp[row], subtracted = mean[row];
      for (std::size_t i = 0; i < visible; ++i) {
        const float p = fast_exp(scores[i] - shift);
        scores[i] = p;
        gradients[i] = p * (gradients[i] - subtracted);
      }
      std::fill(scores + visible, scores + rows.width, 0.0F);
      std::fill(gradients + visible, gradients + rows.width, 0.0F);
    }
  }
};

struct CopyScaled {
  const CopyRows& rows;
  float factor;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    const std::size_t width = rows.width;
    const float by = factor;
    for (std::size_t row = 0; row < num_rows; ++row) {
      const float* __restrict const from = rows.from + row * rows.from_stride;
      float* __restrict const to = rows.to + row * rows.to_stride;
      for (std::size_t i = 0; i < width; ++i) to[i] = by * from[i];
    }
  }
};

struct Dots {
  const DotRows& rows;
  float* dots;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    for (std::size_t row = 0; row < num_rows; ++row) {
      const float* const a = rows.a + row * rows.a_stride;
      const float* const b = rows.b + row * rows.b_stride;
      dots[row] = lane_sum(rows.width, [=](std::size_t i) { return a[i] * b[i]; });
    }
  }
};

}  // namespace

void softmax_step(const ScoreRows& rows, const RunningSoftmax& running, bool is_first) {
  run_widest(SoftmaxStep{rows, running, is_first}, rows.num_rows);
}

void softmax_backward(const ScoreRows& rows, float* gradients, const float* logsumexp, const float* mean) {
  run_widest(SoftmaxBackward{rows, gradients, logsumexp, mean}, rows.num_rows);
}

void copy_scaled(const CopyRows& rows, float factor) { run_widest(CopyScaled{rows, factor}, rows.num_rows); }
void row_dots(const DotRows& rows, float* dots) { run_widest(Dots{rows, dots}, rows.num_rows); }

}  // namespace sluice::kernel
