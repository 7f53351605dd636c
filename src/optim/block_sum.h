// The order in which whole-tensor sums begin: sixteen lanes over a block in fp64, then the lanes pairwise.
#pragma once
#include <array>
#include <cstddef>

namespace sluice::optim {

/// Sum of squares of a block. Element i goes to lane i mod 16; the lanes are then added pairwise.
[[gnu::always_inline]] inline double block_sum_of_squares(const float* values, std::size_t count) {
  constexpr std::size_t kLanes = 16;
  std::array<double, kLanes> lanes{};
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const double x = values[i + lane];
      lanes[lane] += x * x;
    }
  }
  for (std::size_t lane = 0; i + lane < count; ++lane) {
    const double x = values[i + lane];
    lanes[lane] += x * x;
  }
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::size_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return lanes[0];
}

}  // namespace sluice::optim
