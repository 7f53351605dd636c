#include "kernel/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "base/isa.h"

namespace sluice::kernel {
namespace {

using Floats = std::vector<float>;

Floats noise(std::size_t count, unsigned seed, float scale) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  Floats values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

// Two heads of 5 queries against tiles of 40 and 3 keys, the last of which not all may see.
constexpr std::size_t kQueries = 5, kRows = 2 * kQueries, kFirst = 40, kSecond = 3, kWidth = 7;

struct Softmax {
  Floats first, second, maximum = Floats(kRows), sum = Floats(kRows), out = Floats(kRows * kWidth, 1.0F);
};

Softmax two_steps(const Floats& first, const Floats& second) {
  Softmax s{first, second};
  const RunningSoftmax running{s.maximum.data(), s.sum.data(), s.out.data(), kWidth};
  softmax_step({kRows, kFirst, kQueries, kFirst, s.first.data()}, running, true);
  softmax_step({kRows, kSecond, kQueries, 1, s.second.data()}, running, false);
  return s;
}

TEST(SoftmaxStep, GrowsTheSumOfWhatEachQuerySees) {
  const Floats first = noise(kRows * kFirst, 1, 2.0F), second = noise(kRows * kSecond, 2, 4.0F);
  const Softmax s = two_steps(first, second);
  for (std::size_t row = 0; row < kRows; ++row) {
    const std::size_t visible = std::min(kSecond, 1 + row % kQueries);
    double sum = 0;
    for (std::size_t i = 0; i < kFirst; ++i) sum += std::exp(double{first[row * kFirst + i]});
    const double before = std::log(sum);
    for (std::size_t i = 0; i < visible; ++i) sum += std::exp(double{second[row * kSecond + i]});
    EXPECT_NEAR(s.maximum[row] + std::log(s.sum[row]), std::log(sum), 1e-5);
    EXPECT_GE(std::log(sum), before);
    for (std::size_t i = visible; i < kSecond; ++i) EXPECT_EQ(s.second[row * kSecond + i], 0.0F);
    for (std::size_t i = 0; i < visible; ++i) {
      EXPECT_NEAR(s.second[row * kSecond + i], std::exp(second[row * kSecond + i] - s.maximum[row]), 1e-6);
    }
  }
}

TEST(SoftmaxStep, ScalesWhatTheTilesBeforeGave) {
  const Floats first(kRows * kFirst, 1.0F), second(kRows * kSecond, 3.0F);
  const Softmax s = two_steps(first, second);
  for (const float value : s.out) EXPECT_NEAR(value, std::exp(-2.0), 1e-6);
}

TEST(SoftmaxBackward, GivesProbabilitiesAndTheirGradients) {
  const Floats scores = noise(kRows * kSecond, 3, 1.0F), given = noise(kRows * kSecond, 4, 1.0F);
  const Floats logsumexp(kRows, 0.5F), mean(kRows, 0.25F);
  Floats p = scores, gradients = given;
  softmax_backward({kRows, kSecond, kQueries, 1, p.data()}, gradients.data(), logsumexp.data(), mean.data());
  for (std::size_t i = 0; i < p.size(); ++i) {
    const bool visible = i % kSecond < 1 + i / kSecond % kQueries;
    const double exact = visible ? std::exp(double{scores[i]} - 0.5) : 0.0;
    EXPECT_NEAR(p[i], exact, 1e-6);
    EXPECT_NEAR(gradients[i], exact * (given[i] - 0.25), 1e-6);
  }
}

TEST(AttentionKernels, GiveTheSameBitsWithEveryInstructionSet) {
  const auto all = [] {
    Softmax s = two_steps(noise(kRows * kFirst, 1, 9.0F), noise(kRows * kSecond, 2, 9.0F));
    Floats dots(kRows), copy(kRows * kFirst);
    row_dots({kRows, kFirst, s.first.data(), kFirst, s.first.data(), kFirst}, dots.data());
    copy_scaled({kRows, kFirst, s.first.data(), kFirst, copy.data(), kFirst}, 0.3F);
    softmax_backward({kRows, kFirst, kQueries, 30, s.first.data()}, copy.data(), s.maximum.data(), dots.data());
    for (const Floats* part : {&s.second, &s.maximum, &s.sum, &s.out, &dots, &copy}) {
      s.first.insert(s.first.end(), part->begin(), part->end());
    }
    return s.first;
  };
  limit_isa(Isa::Baseline);
  const Floats baseline = all();
  for (const Isa isa : {Isa::Avx2, Isa::Avx512}) {
    limit_isa(isa);
    EXPECT_EQ(all(), baseline);
  }
}

}  // namespace
}  // namespace sluice::kernel
