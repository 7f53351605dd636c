#include "kernel/layer_norm.h"

#include <cmath>

#include "base/isa.h"
#include "kernel/lanes.h"

namespace sluice::kernel {
namespace {

[[gnu::always_inline]] inline void write_row(const LayerNormRows& rows, std::size_t row, float mean, float rstd) {
  const std::size_t width = rows.width;
  const float* __restrict const weight = rows.weight;
  const float* __restrict const bias = rows.bias;
  const float* __restrict const x = rows.x + row * width;
  float* __restrict const y = rows.y + row * width;
  for (std::size_t i = 0; i < width; ++i) y[i] = (x[i] - mean) * rstd * weight[i] + bias[i];
}

// The variance is summed from the differences: the row is in the first-level cache, and squares of a large mean would
// cancel.
struct Forward {
  const LayerNormRows& rows;
  float eps;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    const auto width = static_cast<float>(rows.width);
    for (std::size_t row = 0; row < num_rows; ++row) {
      const float* const x = rows.x + row * rows.width;
      const float mean = lane_sum(rows.width, [x](std::size_t i) { return x[i]; }) / width;
      const float squares = lane_sum(rows.width, [=](std::size_t i) { return (x[i] - mean) * (x[i] - mean); });
      rows.mean[row] = mean;
      rows.rstd[row] = 1.0F / std::sqrt(squares / width + eps);
      write_row(rows, row, mean, rows.rstd[row]);
    }
  }
};

struct Again {
  const LayerNormRows& rows;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    for (std::size_t row = 0; row < num_rows; ++row) write_row(rows, row, rows.mean[row], rows.rstd[row]);
  }
};

struct Backward {
  const LayerNormBackwardRows& rows;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    const auto width = static_cast<float>(rows.width);
    for (std::size_t row = 0; row < num_rows; ++row) {
      const float* const weight = rows.weight;
      const float* const dy = rows.dy + row * rows.width;
      const float* const x = rows.x + row * rows.width;
      const float mean = rows.mean[row], rstd = rows.rstd[row];
      const float sum = lane_sum(rows.width, [=](std::size_t i) { return dy[i] * weight[i]; });
      const float product = lane_sum(rows.width, [=](std::size_t i) { return dy[i] * weight[i] * (x[i] - mean); });
      if (rows.weight_gradient != nullptr) add_weight_gradient(dy, x, mean, rstd);
      if (rows.bias_gradient != nullptr) add_bias_gradient(dy);
      write_dx(row, sum / width, product * rstd / width);
    }
  }
  [[gnu::always_inline]] void add_weight_gradient(const float* dy, const float* x, float mean, float rstd) const {
    float* __restrict const gradient = rows.weight_gradient;
    for (std::size_t i = 0; i < rows.width; ++i) gradient[i] += dy[i] * ((x[i] - mean) * rstd);
  }
  [[gnu::always_inline]] void add_bias_gradient(const float* dy) const {
    float* __restrict const gradient = rows.bias_gradient;
    for (std::size_t i = 0; i < rows.width; ++i) gradient[i] += dy[i];
  }
  // `share` and `slope` are the means of dy * w and of dy * w * n.
  [[gnu::always_inline]] void write_dx(std::size_t row, float share, float slope) const {
    const std::size_t width = rows.width;
    const float* __restrict const weight = rows.weight;
    const float* const dy = rows.dy + row * width;
    const float* __restrict const x = rows.x + row * width;
    float* const dx = rows.dx + row * width;
    const float mean = rows.mean[row], rstd = rows.rstd[row];
    if (rows.residual == nullptr) {
#pragma GCC ivdep
      for (std::size_t i = 0; i < width; ++i) dx[i] = rstd * (dy[i] * weight[i] - share - (x[i] - mean) * rstd * slope);
      return;
    }
    const float* const residual = rows.residual + row * width;
#pragma GCC ivdep
    for (std::size_t i = 0; i < width; ++i)
      dx[i] = residual[i] + rstd * (dy[i] * weight[i] - share - (x[i] - mean) * rstd * slope);
  }
};

}  // namespace

void layer_norm(const LayerNormRows& rows, float eps) { run_widest(Forward{rows, eps}, rows.num_rows); }
void layer_norm_again(const LayerNormRows& rows) { run_widest(Again{rows}, rows.num_rows); }
void layer_norm_backward(const LayerNormBackwardRows& rows) { run_widest(Backward{rows}, rows.num_rows); }

}  // namespace sluice::kernel
