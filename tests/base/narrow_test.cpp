#include "base/narrow.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/half.h"
#include "base/isa.h"

namespace sluice {
namespace {

class Narrow : public testing::TestWithParam<NumberFormat> {
 protected:
  static float widen(std::uint16_t bits) {
    return GetParam() == NumberFormat::Fp16 ? half_to_float(bits)
                                            : std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
};

TEST_P(Narrow, WidensEveryNumberInPlaceToTheSameBitsOnEveryIsa) {
  constexpr std::size_t kAll = 1 << 16;
  for (const Isa isa : {Isa::Baseline, Isa::Avx2, Isa::Avx512}) {
    limit_isa(isa);
    std::vector<float> numbers(kAll);
    auto* const upper = reinterpret_cast<std::byte*>(numbers.data()) + 2 * kAll;
    for (std::size_t i = 0; i < kAll; ++i) {
      const auto bits = static_cast<std::uint16_t>(i);
      std::memcpy(upper + 2 * i, &bits, 2);
    }
    sluice::widen(GetParam(), upper, numbers);
    for (std::size_t i = 0; i < kAll; ++i) {
      const float expected = widen(static_cast<std::uint16_t>(i));
      ASSERT_EQ(std::bit_cast<std::uint32_t>(numbers[i]), std::bit_cast<std::uint32_t>(expected)) << i;
    }
  }
  limit_isa(Isa::Avx512Vbmi);
}

TEST_P(Narrow, WidensRunsOfAnyLengthWithoutTreadingOnWhatIsNotReadYet) {
  for (std::size_t count = 0; count < 70; ++count) {
    std::vector<float> numbers(count);
    std::vector<std::uint16_t> bits(count);
    for (std::size_t i = 0; i < count; ++i) bits[i] = static_cast<std::uint16_t>(0x3c00 + i);
    if (count > 0) std::memcpy(reinterpret_cast<std::byte*>(numbers.data()) + 2 * count, bits.data(), 2 * count);
    sluice::widen(GetParam(), reinterpret_cast<const std::byte*>(numbers.data()) + 2 * count, numbers);
    for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(numbers[i], widen(bits[i])) << i << " of " << count;
  }
}

TEST_P(Narrow, NarrowsRunsOfAnyLengthWithoutTreadingOnWhatIsNotReadYet) {
  for (std::size_t count = 0; count < 70; ++count) {
    std::vector<float> numbers(count);
    for (std::size_t i = 0; i < count; ++i) numbers[i] = 1.0F + static_cast<float>(i) / 7;
    std::vector<std::uint16_t> expected(count), got(count);
    narrow(GetParam(), numbers, expected);
    narrow_in_place(GetParam(), numbers);
    if (count > 0) std::memcpy(got.data(), reinterpret_cast<const std::byte*>(numbers.data()) + 2 * count, 2 * count);
    ASSERT_EQ(got, expected) << count;
  }
}

TEST_P(Narrow, IsExactForItsOwnNumbersAndNearestForOthers) {
  std::vector<float> own;
  for (std::uint32_t bits = 0; bits < 1U << 16; ++bits) {
    const float value = widen(static_cast<std::uint16_t>(bits));
    if (!std::isnan(value)) own.push_back(value);
  }
  std::vector<std::uint16_t> narrowed(own.size());
  narrow(GetParam(), own, narrowed);
  for (std::size_t i = 0; i < own.size(); ++i) ASSERT_EQ(widen(narrowed[i]), own[i]);

  const float above = std::nextafter(1.0F, 2.0F), smallest = widen(0x0001);
  std::vector<float> others = {above, smallest * 0.4F, 1e30F, std::numeric_limits<float>::quiet_NaN(), -above};
  std::vector<float> rounded = others;
  round_to(GetParam(), rounded);
  EXPECT_EQ(rounded[0], 1.0F);
  EXPECT_EQ(rounded[1], 0.0F);
  EXPECT_EQ(std::isinf(rounded[2]), GetParam() == NumberFormat::Fp16);
  EXPECT_TRUE(std::isnan(rounded[3]));
  EXPECT_EQ(rounded[4], -1.0F);
}

INSTANTIATE_TEST_SUITE_P(Formats, Narrow, testing::Values(NumberFormat::Bf16, NumberFormat::Fp16),
                         [](const auto& info) { return std::string(name(info.param)); });

}  // namespace
}  // namespace sluice
