// The order in which whole-tensor sums begin: sixteen lanes over a block in fp64, then the lanes pairwise.
#pragma once
#include <array>
#include <cstddef>

namespace sluice::optim {

/// Sum of value(0) to value(count - 1), doubles, each asked for once and in this order. Element i goes to lane i mod
/// 16; the lanes are then added pairwise. Every index of a lane is a constant, so that the lanes stay in registers.
template <typename Value>
[[gnu::always_inline]] inline double block_sum(std::size_t count, const Value& value) {
  constexpr std::size_t kLanes = 16;
  std::array<double, kLanes> lanes{};
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += value(i + lane);
  }
  if (i < count) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += i + lane < count ? value(i + lane) : 0.0;
  }
  for (std::size_t lane = 0; lane < 8; ++lane) lanes[lane] += lanes[lane + 8];
  for (std::size_t lane = 0; lane < 4; ++lane) lanes[lane] += lanes[lane + 4];
  return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

/// Sum of squares of a block.
[[gnu::always_inline]] inline double block_sum_of_squares(const float* values, std::size_t count) {
  return block_sum(
      count, [values](std::size_t i) __attribute__((always_inline)) {
        const double x = values[i];
        return x * x;
      });
}

}  // namespace sluice::optim
