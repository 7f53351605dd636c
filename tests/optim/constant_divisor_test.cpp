#include "optim/constant_divisor.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "base/isa.h"

namespace sluice::optim {
namespace {

struct DivideLoop {
  const float* from;
  float* to;
  ConstantDivisor divisor;
  [[gnu::always_inline]] void operator()(std::size_t count) const {
    const ConstantDivisor by = divisor;
    for (std::size_t i = 0; i < count; ++i) to[i] = by.quotient(from[i]);
  }
};

void expect_divides(const std::vector<float>& numbers, float divisor) {
  std::vector<float> quotients(numbers.size());
  run_widest(DivideLoop{numbers.data(), quotients.data(), ConstantDivisor(divisor)}, numbers.size());
  std::size_t num_wrong = 0, wrong = 0;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const float expected = numbers[i] / divisor;
    if (std::isnan(expected) ? std::isnan(quotients[i])
                             : std::bit_cast<std::uint32_t>(quotients[i]) == std::bit_cast<std::uint32_t>(expected))
      continue;
    num_wrong += 1;
    wrong = i;
  }
  EXPECT_EQ(num_wrong, 0) << numbers[wrong] << " / " << divisor << " became " << quotients[wrong];
}

std::vector<float> divisors() {
  std::vector<float> all = {1, std::nextafterf(1, 2), std::nextafterf(1, 0), std::nextafterf(2, 0), 3, 1.0F / 3};
  for (const int step : {1, 2, 3, 7, 100, 5000, 100000})
    all.push_back(static_cast<float>(std::sqrt(1 - std::pow(0.999, step))));
  return all;
}

// A quotient depends on the significands and nothing else, away from the ends of the range.
TEST(ConstantDivisor, GivesTheBitsOfADivisionForEverySignificand) {
  std::vector<float> numbers(std::size_t{1} << 23);
  for (std::uint32_t i = 0; i < numbers.size(); ++i) numbers[i] = std::bit_cast<float>(0x3f800000U + i);
  for (const float divisor : divisors()) expect_divides(numbers, divisor);
}

TEST(ConstantDivisor, DoesSoForEveryRootAndWhatIsNoNumber) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> numbers = {0, kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()};
  for (std::uint32_t bits = 1; bits < 0x7f800000U; bits += 4099)
    numbers.push_back(std::sqrt(std::bit_cast<float>(bits)));
  for (const float divisor : divisors()) expect_divides(numbers, divisor);
}

}  // namespace
}  // namespace sluice::optim
