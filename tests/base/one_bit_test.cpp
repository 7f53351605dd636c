// One bit of each number and error feedback against a loop that says the same as simply as can be.
#include "base/one_bit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/isa.h"

namespace sluice {
namespace {

constexpr std::int64_t kCount = 5 * kOneBitElements;

/// Gradients of which few are large, as in training; one block of zeros.
std::vector<float> gradient_of(unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> gradient(kCount);
  for (float& value : gradient) value = std::pow(normal(generator), 3.0F) * 1e-3F;
  std::fill_n(gradient.begin() + kOneBitElements, kOneBitElements, 0.0F);
  return gradient;
}

std::vector<std::byte> packed(const std::vector<float>& gradient, std::vector<float>& residual) {
  std::vector<std::byte> records(static_cast<std::size_t>(one_bit_bytes(kCount)));
  pack_one_bit(gradient, residual, records.data());
  return records;
}

std::vector<float> sum_of(const std::vector<std::vector<std::byte>>& all) {
  std::vector<const std::byte*> sources;
  for (const auto& records : all) sources.push_back(records.data());
  std::vector<float> sum(kCount, -1.0F);
  sum_one_bit(sources, sum);
  return sum;
}

/// EF-SignSGD, algorithm 2 of arXiv:1901.09847, with a step size of 1 and a scale of each block.
class ScalarRank {
 public:
  std::vector<double> send(const std::vector<float>& gradient) {
    std::vector<double> sent(kCount);
    for (std::int64_t block = 0; block < kCount; block += kOneBitElements) {
      double sum = 0;
      for (std::int64_t i = block; i < block + kOneBitElements; ++i) {
        error_[i] += gradient[i];
        sum += std::abs(error_[i]);
      }
      for (std::int64_t i = block; i < block + kOneBitElements; ++i) {
        sent[i] = (error_[i] < 0 ? -sum : sum) / kOneBitElements;
        error_[i] -= sent[i];
      }
    }
    return sent;
  }

 private:
  std::vector<double> error_ = std::vector<double>(kCount, 0.0);
};

TEST(OneBit, SaysAndKeepsWhatASimpleLoopDoes) {
  constexpr unsigned kRanks = 3, kSteps = 20;
  std::vector<ScalarRank> expected(kRanks);
  std::vector<std::vector<float>> residuals(kRanks, std::vector<float>(kCount, 0.0F));
  for (unsigned step = 0; step < kSteps; ++step) {
    std::vector<double> sum(kCount, 0.0);
    std::vector<std::vector<std::byte>> sent;
    for (unsigned rank = 0; rank < kRanks; ++rank) {
      const std::vector<float> gradient = gradient_of(100 * step + rank);
      sent.push_back(packed(gradient, residuals[rank]));
      const std::vector<double> says = expected[rank].send(gradient);
      for (std::int64_t i = 0; i < kCount; ++i) sum[i] += says[i];
    }
    const std::vector<float> got = sum_of(sent);
    for (std::int64_t i = 0; i < kCount; ++i) ASSERT_NEAR(got[i], sum[i], 1e-8) << "step " << step << ", number " << i;
  }
}

TEST(OneBit, SendsOrKeepsAllOfEveryGradient) {
  constexpr unsigned kRanks = 2, kSteps = 50;
  std::vector<double> gradients(kCount, 0.0), sent(kCount, 0.0);
  std::vector<std::vector<float>> residuals(kRanks, std::vector<float>(kCount, 0.0F));
  for (unsigned step = 0; step < kSteps; ++step) {
    std::vector<std::vector<std::byte>> records;
    for (unsigned rank = 0; rank < kRanks; ++rank) {
      const std::vector<float> gradient = gradient_of(100 * step + rank);
      records.push_back(packed(gradient, residuals[rank]));
      for (std::int64_t i = 0; i < kCount; ++i) gradients[i] += gradient[i];
    }
    const std::vector<float> sum = sum_of(records);
    for (std::int64_t i = 0; i < kCount; ++i) sent[i] += sum[i];
  }
  double kept = 0;
  for (std::int64_t i = 0; i < kCount; ++i) {
    const double rest = static_cast<double>(residuals[0][i]) + residuals[1][i];
    ASSERT_NEAR(sent[i] + rest, gradients[i], 2e-6) << i;
    kept += std::abs(rest);
  }
  EXPECT_GT(kept / kCount, 1e-4) << "one bit does not say everything";
}

TEST(OneBit, GivesTheSameBitsOnEveryIsa) {
  std::vector<std::byte> records;
  std::vector<float> kept, sum;
  for (const Isa isa : {Isa::Baseline, Isa::Avx2, Isa::Avx512}) {
    limit_isa(isa);
    std::vector<float> residual = gradient_of(2);
    const std::vector<std::byte> got = packed(gradient_of(1), residual);
    const std::vector<float> total = sum_of({got, got, got});
    if (isa == Isa::Baseline) {
      records = got;
      kept = residual;
      sum = total;
    }
    EXPECT_EQ(got, records);
    EXPECT_EQ(residual, kept);
    EXPECT_EQ(total, sum);
  }
  limit_isa(Isa::Avx512Vbmi);
}

// So that a step with such a gradient is skipped, and the steps after it are not lost.
TEST(OneBit, SendsABlockThatIsNotFiniteAsItIsAndKeepsWhatItHad) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::max()}) {
    std::vector<float> gradient = gradient_of(1), residual = gradient_of(2), before = residual;
    gradient[3] = gradient[4] = bad;
    const std::vector<float> sum = sum_of({packed(gradient, residual)});
    for (std::int64_t i = 0; i < kOneBitElements; ++i) {
      EXPECT_FALSE(std::isfinite(sum[i]));
      EXPECT_EQ(residual[i], before[i]);
    }
    EXPECT_TRUE(std::isfinite(sum[kOneBitElements]));
    EXPECT_NE(residual[2 * kOneBitElements], before[2 * kOneBitElements]);
  }
}

TEST(OneBit, TakesAByteAndAnEighthForEightNumbers) {
  EXPECT_EQ(one_bit_bytes(4096), 4096 / 8 + 4096 / 256 * 4);
  EXPECT_EQ(one_bit_bytes(4097), one_bit_bytes(4096) + kOneBitBytes);
}

}  // namespace
}  // namespace sluice
