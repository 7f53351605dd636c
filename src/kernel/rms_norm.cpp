#include "kernel/rms_norm.h"

#include <cmath>

#include "base/isa.h"
#include "kernel/lanes.h"

namespace sluice::kernel {
namespace {

[[gnu::always_inline]] inline void write_row(const RmsNormRows& rows, std::size_t row, float rstd) {
  const std::size_t width = rows.width;
  const float* __restrict const weight = rows.weight;
  const float* __restrict const x = rows.x + row * width;
  float* __restrict const y = rows.y + row * width;
  for (std::size_t i = 0; i < width; ++i) y[i] = x[i] * rstd * weight[i];
}

struct Forward {
  const RmsNormRows& rows;
  float eps;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    for (std::size_t row = 0; row < num_rows; ++row) {
      const float* const x = rows.x + row * rows.width;
      const float squares = lane_sum(rows.width, [x](std::size_t i) { return x[i] * x[i]; });
      rows.rstd[row] = 1.0F / std::sqrt(squares / static_cast<float>(rows.width) + eps);
      write_row(rows, row, rows.rstd[row]);
    }
  }
};

struct Again {
  const RmsNormRows& rows;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    for (std::size_t row = 0; row < num_rows; ++row) write_row(rows, row, rows.rstd[row]);
  }
};

// The sums of a row run over what the second loop finds in the first-level cache.
struct Backward {
  const RmsNormBackwardRows& rows;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    for (std::size_t row = 0; row < num_rows; ++row) {
      const float* const weight = rows.weight;
      const float* const dy = rows.dy + row * rows.width;
      const float* const x = rows.x + row * rows.width;
      const float rstd = rows.rstd[row];
      const float sum = lane_sum(rows.width, [=](std::size_t i) { return dy[i] * weight[i] * x[i]; });
      if (rows.weight_gradient != nullptr) add_weight_gradient(dy, x, rstd);
      const float mean = sum * rstd / static_cast<float>(rows.width);
      write_dx(row, rstd, mean);
    }
  }
  [[gnu::always_inline]] void add_weight_gradient(const float* dy, const float* x, float rstd) const {
    float* __restrict const gradient = rows.weight_gradient;
    for (std::size_t i = 0; i < rows.width; ++i) gradient[i] += dy[i] * (x[i] * rstd);
  }
  [[gnu::always_inline]] void write_dx(std::size_t row, float rstd, float mean) const {
    const std::size_t width = rows.width;
    const float* __restrict const weight = rows.weight;
    const float* const dy = rows.dy + row * width;
    const float* __restrict const x = rows.x + row * width;
    float* const dx = rows.dx + row * width;
    if (rows.residual == nullptr) {
#pragma GCC ivdep
      for (std::size_t i = 0; i < width; ++i) dx[i] = rstd * (dy[i] * weight[i] - x[i] * rstd * mean);
      return;
    }
    const float* const residual = rows.residual + row * width;
#pragma GCC ivdep
    for (std::size_t i = 0; i < width; ++i) {
      dx[i] = residual[i] + rstd * (dy[i] * weight[i] - x[i] * rstd * mean);
    }
  }
};

}  // namespace

void rms_norm(const RmsNormRows& rows, float eps) { run_widest(Forward{rows, eps}, rows.num_rows); }
void rms_norm_again(const RmsNormRows& rows) { run_widest(Again{rows}, rows.num_rows); }
void rms_norm_backward(const RmsNormBackwardRows& rows) { run_widest(Backward{rows}, rows.num_rows); }

}  // namespace sluice::kernel
