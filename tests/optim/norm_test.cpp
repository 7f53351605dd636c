#include "optim/norm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/isa.h"

namespace sluice::optim {
namespace {

std::vector<float> noise(std::size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::uniform_int_distribution<int> exponent(-60, 60);
  std::vector<float> values(count);
  for (float& value : values) value = std::ldexp(normal(generator), exponent(generator));
  return values;
}

TEST(SumOfSquares, MatchesExtendedPrecision) {
  for (const std::size_t count : {0, 1, 15, 16, 17, 4095, 4096, 4097, 50001}) {
    const auto values = noise(count, static_cast<unsigned>(count));
    long double expected = 0;
    for (const float value : values) expected += static_cast<long double>(value) * value;
    const double got = sum_of_squares(values);
    EXPECT_NEAR(got, static_cast<double>(expected), 1e-14 * static_cast<double>(expected)) << count;
  }
}

TEST(SumOfSquares, GivesTheSameBitsForSlicesInAnyOrder) {
  const auto values = noise(10 * kNormBlock + 77, 1);
  const double whole = sum_of_squares(values);
  std::vector<std::span<const float>> slices;
  for (std::size_t first = 0, blocks = 1; first < values.size(); ++blocks) {
    const std::size_t count = std::min(blocks * kNormBlock, values.size() - first);
    slices.push_back(std::span(values).subspan(first, count));
    first += count;
  }
  std::mt19937 generator(2);
  for (int round = 0; round < 10; ++round) {
    std::shuffle(slices.begin(), slices.end(), generator);
    SquareSum left;
    SquareSum right;
    for (std::size_t i = 0; i < slices.size(); ++i) (i % 2 == 0 ? left : right).add(slices[i]);
    right.merge(left);
    EXPECT_EQ(right.value(), whole);
  }
}

TEST(SumOfSquares, GivesTheSameBitsWithEveryInstructionSet) {
  const auto values = noise(9999, 3);
  limit_isa(Isa::Baseline);
  const double baseline = sum_of_squares(values);
  for (const Isa isa : {Isa::Avx2, Isa::Avx512}) {
    limit_isa(isa);
    EXPECT_EQ(sum_of_squares(values), baseline);
  }
}

TEST(SumOfSquares, HoldsTheSmallestAndTheLargestFloat) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  EXPECT_EQ(sum_of_squares(std::vector<float>{tiny}), std::ldexp(1.0, -298));
  EXPECT_EQ(sum_of_squares(std::vector<float>{tiny, tiny, tiny}), std::ldexp(3.0, -298));
  const std::vector<float> large(2 * kNormBlock, std::numeric_limits<float>::max());
  const double expected = double{large[0]} * double{large[0]} * 2 * static_cast<double>(kNormBlock);
  EXPECT_NEAR(sum_of_squares(large), expected, 1e-13 * expected);
  EXPECT_EQ(sum_of_squares(std::vector<float>(5, 0.0F)), 0);
}

TEST(SumOfSquares, RoundsOnceToNearest) {
  // 1 + 2^-53 is half way and goes to even; anything below it tips the balance.
  std::vector<float> values(3 * kNormBlock, 0.0F);
  values[0] = 1;
  values[kNormBlock] = std::ldexp(1.0F, -27);
  values[kNormBlock + 16] = std::ldexp(1.0F, -27);
  EXPECT_EQ(sum_of_squares(values), 1.0);
  values[2 * kNormBlock] = std::ldexp(1.0F, -149);
  EXPECT_EQ(sum_of_squares(values), std::nextafter(1.0, 2.0));
}

TEST(SumOfSquares, IsNotFiniteExactlyWhenAnElementIsNot) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    for (const std::size_t where : {std::size_t{0}, kNormBlock - 1, kNormBlock + 5}) {
      std::vector<float> values(kNormBlock + 6, 1.0F);
      values[where] = bad;
      EXPECT_FALSE(std::isfinite(sum_of_squares(values)));
    }
  }
  SquareSum sum;
  sum.add(std::vector<float>{std::numeric_limits<float>::infinity()});
  SquareSum other;
  other.merge(sum);
  EXPECT_FALSE(std::isfinite(other.value()));
}

TEST(ClipCoefficient, ScalesDownToTheNormAndNeverUp) {
  EXPECT_FLOAT_EQ(clip_coefficient(4.0, 1.0), static_cast<float>(1.0 / (4.0 + 1e-6)));
  EXPECT_EQ(clip_coefficient(0.5, 1.0), 1.0F);
  EXPECT_EQ(clip_coefficient(0.0, 1.0), 1.0F);
  EXPECT_EQ(clip_coefficient(1e9, 0.0), 1.0F);
}

TEST(ClipCoefficient, ShowsANormThatIsNotFinite) {
  EXPECT_TRUE(std::isnan(clip_coefficient(std::nan(""), 1.0)));
  EXPECT_EQ(clip_coefficient(std::numeric_limits<double>::infinity(), 1.0), 0.0F);
}

}  // namespace
}  // namespace sluice::optim
