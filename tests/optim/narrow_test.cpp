// States narrower than fp32: rounding at random is unbiased and depends on the element alone; 8-bit moments are
// bitsandbytes' code for code.
#include "optim/narrow.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "base/dynamic_map.h"
#include "base/isa.h"
#include "optim/tensor.h"

namespace sluice::optim {
namespace {

constexpr std::size_t kDraws = 100'000;

template <typename Draw>
void for_each_draw(std::uint64_t stream, Draw draw) {
  for (std::size_t i = 0; i < kDraws; ++i) draw(i, BlockNoise(stream, i / kBlock)(i % kBlock));
}

TEST(StochasticRounding, IsUnbiasedOverManyDraws) {
  for (const float value : {1.0F + 0x1p-9F, 1.0F + 0x1p-12F, 1.7F, -0.3F, 3.0F + 0x1.3p-8F}) {
    for (const int shift : {0, 16}) {
      double sum = 0;
      for_each_draw(mix(7, 3), [&](std::size_t, std::uint32_t noise) {
        sum += RandomBf16::widen(RandomBf16::narrow(value, noise >> shift));
      });
      EXPECT_NEAR(sum / kDraws, value, 3e-5 * std::max(1.0, std::abs(double{value}))) << value << " shift " << shift;
    }
  }
}

TEST(StochasticRounding, LeavesExactNumbersInfinityAndNanAlone) {
  for (const float value : {0.0F, -0.0F, 1.5F, -2.0F, INFINITY, -INFINITY, 0x1.fep127F}) {
    for_each_draw(1, [&](std::size_t, std::uint32_t noise) {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(RandomBf16::widen(RandomBf16::narrow(value, noise))),
                std::bit_cast<std::uint32_t>(value));
    });
    EXPECT_EQ(NearestBf16::widen(NearestBf16::narrow(value, 0)), value);
  }
  EXPECT_TRUE(std::isnan(RandomBf16::widen(RandomBf16::narrow(NAN, 0xffffU))));
  EXPECT_TRUE(std::isfinite(RandomBf16::widen(RandomBf16::narrow(0x1.fffffep127F, 0xffffU))));
}

TEST(NearestRounding, TiesToEven) {
  EXPECT_EQ(NearestBf16::narrow(1.0F + 0x1p-8F, 0), 0x3f80);
  EXPECT_EQ(NearestBf16::narrow(1.0F + 0x3p-8F, 0), 0x3f82);
  EXPECT_EQ(NearestBf16::narrow(1.0F + 0x1.1p-8F, 0), 0x3f81);
}

// Neighbours in position, in step and in state must not go together.
TEST(BlockNoise, HasNoCorrelationBetweenNeighbours) {
  const auto unit = [](std::uint32_t half) { return (half & 0xffffU) / 65536.0 - 0.5; };
  double states = 0, elements = 0, steps = 0, blocks = 0, before = 0;
  for_each_draw(mix(7, 3), [&](std::size_t i, std::uint32_t noise) {
    const BlockNoise other_step(mix(7, 4), i / kBlock), other_block(mix(7, 3), i / kBlock + 1);
    states += unit(noise) * unit(noise >> 16);
    elements += unit(noise) * before;
    steps += unit(noise) * unit(other_step(i % kBlock));
    blocks += unit(noise) * unit(other_block(i % kBlock));
    before = unit(noise);
  });
  const double sigma = std::sqrt(static_cast<double>(kDraws)) / 12;
  for (const double sum : {states, elements, steps, blocks}) EXPECT_LT(std::abs(sum), 4 * sigma);
}

TEST(BlockNoise, FillsItsRangeEvenly) {
  for (const int shift : {0, 16}) {
    std::vector<double> counts(256);
    for_each_draw(99, [&](std::size_t, std::uint32_t noise) { counts[noise >> shift >> 8 & 0xffU] += 1; });
    double chi = 0;
    for (const double count : counts) chi += (count - kDraws / 256.0) * (count - kDraws / 256.0) / (kDraws / 256.0);
    EXPECT_NEAR(chi, 255, 5 * std::sqrt(2 * 255.0));
  }
}

TEST(Bf16Moments, AreRoundedByElementStepAndSeed) {
  const RuleOptions options{.moments = StateFormat::Bf16};
  const auto rule = make_rule("adamw", options);
  const auto moments_after = [&](std::int64_t step, std::uint64_t seed) {
    Tensor tensor(*rule, noise(4000, 1));
    tensor.update(*rule, Words(4000, 1.2345F), {.lr = 1e-2, .step = step, .seed = seed});
    return tensor.states;
  };
  EXPECT_TRUE(moments_after(1, 5) == moments_after(1, 5));
  EXPECT_FALSE(moments_after(1, 5) == moments_after(1, 6));
  EXPECT_FALSE(moments_after(1, 5) == moments_after(2, 5));
  const auto states = moments_after(1, 5);
  const auto* words = reinterpret_cast<const std::uint16_t*>(states[0].elements.data());
  EXPECT_EQ(std::set<std::uint16_t>(words, words + 4000).size(), 2U) << "equal elements go to either neighbour";
}

// A second moment that moves by less than half a unit of bf16 a step: at random it arrives, to the nearest it cannot.
TEST(Bf16Moments, ArriveWhereFp32DoesOnlyWhenRoundedAtRandom) {
  const auto mean_after = [](const RuleOptions& options) {
    const auto rule = make_rule("adamw", options);
    Tensor tensor(*rule, Words(20'000, 0.0F));
    for (std::int64_t step = 1; step <= 400; ++step)
      tensor.update(*rule, Words(20'000, 1.0F), {.lr = 0, .step = step, .seed = 3});
    const Tensor::State& v = tensor.states[1];
    double sum = 0;
    for (std::size_t i = 0; i < tensor.parameter.size(); ++i)
      sum += options.moments == StateFormat::Fp32
                 ? reinterpret_cast<const float*>(v.elements.data())[i]
                 : Bf16Words::widen(reinterpret_cast<const std::uint16_t*>(v.elements.data())[i]);
    return sum / static_cast<double>(tensor.parameter.size());
  };
  const double expected = 1 - std::pow(0.999, 400);
  EXPECT_NEAR(mean_after({}), expected, 1e-5);
  EXPECT_NEAR(mean_after({.moments = StateFormat::Bf16}), expected, 2e-3 * expected);
  EXPECT_LT(mean_after({.moments = StateFormat::Bf16, .stochastic_rounding = false}), 0.9 * expected);
}

Words read_words(std::istream& in, std::size_t count) {
  Words words(count);
  for (float& word : words) {
    std::uint32_t bits = 0;
    in >> std::hex >> bits >> std::dec;
    word = std::bit_cast<float>(bits);
  }
  return words;
}

std::vector<std::uint8_t> read_codes(std::istream& in) {
  std::string digits;
  in >> digits;
  std::vector<std::uint8_t> codes;
  for (std::size_t i = 0; i < digits.size(); i += 2)
    codes.push_back(static_cast<std::uint8_t>(std::stoi(digits.substr(i, 2), nullptr, 16)));
  return codes;
}

// As in make_adamw_8bit.py.
Words golden_gradient(std::size_t size, std::uint64_t step) {
  Words values(size);
  for (std::size_t i = 0; i < size; ++i) {
    const auto word = static_cast<std::uint32_t>(i * 2654435761U + step * 40503);
    values[i] = static_cast<float>(std::ldexp(word / 4294967296.0 - 0.5, -static_cast<int>(i / 3 % 12)));
  }
  return values;
}

TEST(AdamW8Bit, GivesBitsandbytesCodesScalesAndParameters) {
  std::ifstream in(std::string(SLUICE_TEST_DATA) + "/optim/adamw_8bit.txt");
  const Words with_sign = read_words(in, 256), without = read_words(in, 256);
  for (std::size_t i = 0; i < 256; ++i) {
    ASSERT_EQ(signed_dynamic_map().values()[i], with_sign[i]) << i;
    ASSERT_EQ(unsigned_dynamic_map().values()[i], without[i]) << i;
  }
  constexpr std::size_t kSize = 5000;
  const auto rule = make_rule("adamw-8bit", {});
  Tensor tensor(*rule, golden_gradient(kSize, 77));
  for (std::int64_t step = 1; step <= 3; ++step)
    tensor.update(*rule, golden_gradient(kSize, static_cast<std::uint64_t>(step)),
                  {.lr = 0.01, .weight_decay = 0.1, .step = step, .gradient_scale = 0.5F});
  for (int moment = 0; moment < 2; ++moment) {
    const std::vector<std::uint8_t> codes = read_codes(in);
    const Words scales = read_words(in, tensor.states[moment].scales.size());
    ASSERT_EQ(codes.size(), kSize);
    for (std::size_t i = 0; i < kSize; ++i)
      ASSERT_EQ(std::to_integer<int>(tensor.states[moment].elements[i]), codes[i]) << moment << " element " << i;
    EXPECT_EQ(tensor.states[moment].scales, scales);
  }
  const Words parameters = read_words(in, kSize / 50);
  for (std::size_t i = 0; i < parameters.size(); ++i) EXPECT_EQ(tensor.parameter[50 * i], parameters[i]) << i;
  EXPECT_TRUE(in);
}

// All floats would take minutes: every boundary with its neighbours, and many in between.
Words numbers_to_encode(const DynamicMap& map) {
  const bool with_sign = map.values()[0] < 0;
  Words numbers;
  const auto add = [&](float x) {
    if (std::abs(x) <= 1 && (with_sign || !std::signbit(x))) numbers.push_back(x);
  };
  for (std::size_t i = 0; i + 1 < 256; ++i) {
    const float low = map.values()[i], high = map.values()[i + 1], middle = (low + high) / 2;
    for (const float around : {low, middle, high}) {
      float x = around;
      for (int n = 0; n < 4; ++n) x = std::nextafter(x, -2.0F);
      for (int n = 0; n < 9; ++n, x = std::nextafter(x, 2.0F)) add(x);
    }
  }
  for (std::uint32_t n = 0; n < 300'000; ++n) add(std::bit_cast<float>(static_cast<std::uint32_t>(mix(1, n))));
  for (int n = -100'000; n <= 100'000; ++n) add(static_cast<float>(n) / 100'000.0F);
  for (const float x : {0.0F, -0.0F, 1e-30F, -1e-30F, 1e-45F, -1e-45F}) add(x);
  return numbers;
}

TEST(DynamicMap, FindsTheNearestNumberWithEveryInstructionSet) {
  for (const DynamicMap* map : {&signed_dynamic_map(), &unsigned_dynamic_map()}) {
    const Words numbers = numbers_to_encode(*map);
    for (const Isa isa : {Isa::Baseline, Isa::Avx2, Isa::Avx512, Isa::Avx512Vbmi}) {
      limit_isa(isa);
      std::vector<std::uint8_t> codes(numbers.size());
      map->encode(numbers.data(), numbers.size(), 1.0F, codes.data());
      Words decoded(numbers.size());
      map->decode(codes.data(), codes.size(), 0.7F, decoded.data());
      for (std::size_t i = 0; i < numbers.size(); ++i) {
        ASSERT_EQ(codes[i], map->slow_code(numbers[i])) << numbers[i];
        ASSERT_EQ(decoded[i], map->values()[codes[i]] * 0.7F);
      }
    }
  }
  limit_isa(Isa::Avx512Vbmi);
}

// Quotients are rounded as a division rounds them, from the least scale to the largest.
TEST(DynamicMap, DividesByTheScaleExactlyWithEveryInstructionSet) {
  constexpr std::size_t kNearBorders = 255 * 27;
  for (const DynamicMap* map : {&signed_dynamic_map(), &unsigned_dynamic_map()}) {
    Words quotients = numbers_to_encode(*map);
    quotients.resize(kNearBorders);
    for (int exponent = -148; exponent <= 127; exponent += 11) {
      const float scale = std::ldexp(1.0F + static_cast<float>(exponent & 7) / 8.3F, exponent);
      Words numbers;
      for (const float quotient : quotients) {
        for (const float number : {quotient * scale, std::nextafter(quotient * scale, 0.0F)})
          if (std::abs(number) <= scale) numbers.push_back(number);
      }
      for (const Isa isa : {Isa::Baseline, Isa::Avx512Vbmi}) {
        limit_isa(isa);
        std::vector<std::uint8_t> codes(numbers.size());
        map->encode(numbers.data(), numbers.size(), scale, codes.data());
        for (std::size_t i = 0; i < numbers.size(); ++i)
          ASSERT_EQ(codes[i], map->slow_code(numbers[i] / scale)) << numbers[i] << " / " << scale;
      }
    }
  }
  limit_isa(Isa::Avx512Vbmi);
}

// Where a run of numbers may go a shorter way together, each is alone here, from half of its neighbourhood to nothing.
TEST(DynamicMap, FindsTheNearestNumberAtAnyDistanceFromABorder) {
  for (const DynamicMap* map : {&signed_dynamic_map(), &unsigned_dynamic_map()}) {
    for (const float scale : {1.0F, 0.37F, 5.1e-9F}) {
      for (std::size_t i = 0; i + 1 < 256; ++i) {
        const float border = (map->values()[i] + map->values()[i + 1]) / 2;
        for (int bit = -24; bit <= 24; ++bit) {
          const float away = bit == 0 ? 0.0F : std::ldexp(bit < 0 ? -1.0F : 1.0F, std::abs(bit) - 26);
          const float quotient = border + border * away;
          if (std::abs(quotient) > 1 || quotient == 0) continue;
          const std::vector<float> numbers(64, quotient * scale);
          std::array<std::uint8_t, 64> codes{};
          map->encode(numbers.data(), numbers.size(), scale, codes.data());
          ASSERT_EQ(codes[i % 64], map->slow_code(numbers[0] / scale)) << quotient << " of " << scale;
        }
      }
    }
  }
}

TEST(DynamicMap, MakesSomeCodeOfWhatIsNoNumber) {
  const Words numbers(130, NAN);
  std::vector<std::uint8_t> codes(numbers.size());
  for (const Isa isa : {Isa::Baseline, Isa::Avx512Vbmi}) {
    limit_isa(isa);
    for (const DynamicMap* map : {&signed_dynamic_map(), &unsigned_dynamic_map()})
      EXPECT_NO_FATAL_FAILURE(map->encode(numbers.data(), numbers.size(), INFINITY, codes.data()));
  }
  limit_isa(Isa::Avx512Vbmi);
}

TEST(AdamW8Bit, SkipsElementsWhoseGradientIsNotFinite) {
  const auto rule = make_rule("adamw-8bit", {});
  for (const std::size_t size : {1000, 5000}) {
    Tensor tensor(*rule, noise(size, 1));
    Words gradient = noise(size, 2);
    tensor.update(*rule, gradient, {.lr = 1e-2, .step = 1});
    const float before = tensor.parameter[300];
    gradient[300] = NAN;
    gradient[301] = INFINITY;
    tensor.update(*rule, gradient, {.lr = 1e-2, .step = 2});
    EXPECT_EQ(tensor.parameter[300], before);
    for (const float p : tensor.parameter) EXPECT_TRUE(std::isfinite(p));
  }
}

// bitsandbytes' own bounds for 8-bit Adam against fp32 (tests/test_optim.py): parameters within 6e-5 on the mean.
TEST(AdamW8Bit, StaysNearFp32) {
  const auto narrow = make_rule("adamw-8bit", {}), wide = make_rule("adamw", {});
  const std::size_t size = 32 * 1024;
  Words initial = noise(size, 3, 0.1F);
  Tensor a(*narrow, initial, {32, 1024}), b(*wide, initial, {32, 1024});
  for (std::int64_t step = 1; step <= 50; ++step) {
    const Words gradient = noise(size, 100 + static_cast<unsigned>(step), 0.01F);
    a.update(*narrow, gradient, {.lr = 1e-3, .step = step});
    b.update(*wide, gradient, {.lr = 1e-3, .step = step});
  }
  double error = 0;
  for (std::size_t i = 0; i < size; ++i) error += std::abs(a.parameter[i] - b.parameter[i]);
  EXPECT_LT(error / static_cast<double>(size), 2e-4);
}

}  // namespace
}  // namespace sluice::optim
