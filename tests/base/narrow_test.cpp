#include "base/narrow.h"

#include <gtest/gtest.h>

#include <algorithm>
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
    narrow(GetParam(), numbers, reinterpret_cast<std::byte*>(expected.data()));
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
  narrow(GetParam(), own, reinterpret_cast<std::byte*>(narrowed.data()));
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

// By the definition of E4M3.
float fp8_number(unsigned code) {
  const int exponent = static_cast<int>(code >> 3 & 15U), mantissa = static_cast<int>(code & 7U);
  const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                        : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  if ((code & 127U) == 127U) return std::numeric_limits<float>::quiet_NaN();
  return (code >> 7 != 0 ? -magnitude : magnitude) * kFp8Unit;
}

// The nearest of all numbers, of two the one with an even code.
unsigned fp8_code(float value) {
  const float magnitude = std::abs(value);
  if (!(magnitude < std::numeric_limits<float>::infinity())) return 127;
  const auto off = [&](unsigned code) { return std::abs(static_cast<double>(fp8_number(code)) - magnitude); };
  unsigned best = 0;
  for (unsigned code = 1; code < 127; ++code) {
    if (off(code) < off(best) || (off(code) == off(best) && code % 2 == 0)) best = code;
  }
  return best | (std::signbit(value) ? 128U : 0U);
}

class Fp8 : public testing::TestWithParam<Isa> {
 protected:
  Fp8() { limit_isa(GetParam()); }
  ~Fp8() override { limit_isa(Isa::Avx512Vbmi); }
};

TEST_P(Fp8, WidensEveryCode) {
  std::vector<float> numbers(256);
  auto* const end = reinterpret_cast<std::byte*>(numbers.data()) + 3 * 256;
  for (unsigned code = 0; code < 256; ++code) end[code] = static_cast<std::byte>(code);
  widen(NumberFormat::Fp8, end, numbers);
  for (unsigned code = 0; code < 256; ++code) {
    const float expected = fp8_number(code);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(numbers[code])) << code;
    } else {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(numbers[code]), std::bit_cast<std::uint32_t>(expected)) << code;
    }
  }
}

// Every number, what lies half way to the next one and its neighbours, and what lies beyond or is no number.
TEST_P(Fp8, RoundsToTheNearestNumber) {
  std::vector<float> values = {1e-30F,
                               kFp8Most * 0.97F,
                               kFp8Most,
                               kFp8Most * 1.05F,
                               1e30F,
                               std::numeric_limits<float>::infinity(),
                               std::numeric_limits<float>::quiet_NaN(),
                               std::numeric_limits<float>::denorm_min()};
  for (unsigned code = 0; code < 126; ++code) {
    const float number = fp8_number(code), half = (number + fp8_number(code + 1)) / 2;
    values.insert(values.end(), {number, half, std::nextafter(half, 0.0F), std::nextafter(half, 2 * kFp8Most)});
  }
  std::uint32_t bits = 1;
  for (int i = 0; i < 20000; ++i) values.push_back(std::bit_cast<float>(bits = bits * 1664525U + 1013904223U));
  for (std::size_t i = values.size(); i-- > 0;) values.push_back(-values[i]);
  std::vector<std::byte> codes(values.size());
  narrow(NumberFormat::Fp8, values, codes.data());
  std::vector<float> rounded = values;
  round_to(NumberFormat::Fp8, rounded);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const unsigned expected = fp8_code(values[i]);
    ASSERT_EQ(static_cast<unsigned>(codes[i]) & 127U, expected & 127U) << values[i];
    if (std::isfinite(values[i])) {
      ASSERT_EQ(static_cast<unsigned>(codes[i]), expected) << values[i];
      ASSERT_EQ(rounded[i], fp8_number(expected)) << values[i];
    }
  }
}

// What docs/optimizers.md promises.
TEST_P(Fp8, IsOffByASixteenthOrAThousandthOfItsUnitAtMost) {
  std::uint32_t bits = 7;
  for (int i = 0; i < 100000; ++i) {
    float value = std::bit_cast<float>(bits = bits * 1664525U + 1013904223U);
    if (!(std::abs(value) <= kFp8Most)) continue;
    const float exact = value;
    round_to(NumberFormat::Fp8, {&value, 1});
    ASSERT_LE(std::abs(value - exact), std::max(std::abs(exact) / 16, kFp8Unit / 1024)) << exact;
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, Fp8, testing::Values(Isa::Baseline, Isa::Avx2, Isa::Avx512));

}  // namespace
}  // namespace sluice
