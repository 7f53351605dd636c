// The order in which whole-tensor sums begin: lanes over a block, sixteen in fp64 or thirty-two in fp32, then the lanes
// pairwise.
#pragma once
#include <array>
#include <cstddef>

namespace sluice::optim {

/// The lower half of the lanes takes in the upper one, and so on. A function for each width: lanes that a loop counts
/// would go through memory.
template <std::size_t kLanes, typename Lane>
[[gnu::always_inline]] inline Lane sum_of_lanes(const Lane* lanes) {
  if constexpr (kLanes == 1) {
    return lanes[0];
  } else {
    std::array<Lane, kLanes / 2> half;
    for (std::size_t lane = 0; lane < kLanes / 2; ++lane) half[lane] = lanes[lane] + lanes[lane + kLanes / 2];
    return sum_of_lanes<kLanes / 2>(half.data());
  }
}

/// Sum of value(0) to value(count - 1), each asked for once and in this order. Element i goes to lane i mod the number
/// of lanes; the lanes are then added pairwise. Every index of a lane is a constant, so that the lanes stay in
/// registers. In fp32 a block's sum of positive numbers is off by some 1e-7 of it, at random.
template <typename Lane, typename Value>
[[gnu::always_inline]] inline Lane block_sum(std::size_t count, const Value& value) {
  constexpr std::size_t kLanes = 128 / sizeof(Lane);
  std::array<Lane, kLanes> lanes{};
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += value(i + lane);
  }
  if (i < count) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += i + lane < count ? value(i + lane) : Lane{0};
  }
  return sum_of_lanes<kLanes>(lanes.data());
}

/// Sum of squares of a block.
[[gnu::always_inline]] inline double block_sum_of_squares(const float* values, std::size_t count) {
  return block_sum<double>(
      count, [values](std::size_t i) __attribute__((always_inline)) {
        const double x = values[i];
        return x * x;
      });
}

}  // namespace sluice::optim
