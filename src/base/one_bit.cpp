#include "base/one_bit.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/isa.h"

namespace sluice {
namespace {

// Explicit lanes of sums and of signs, so that every instruction set adds in one order.
constexpr std::size_t kLanes = 8, kRounds = 32, kBlock = kLanes * kRounds;
static_assert(kBlock == kOneBitElements);

using Signs = std::array<std::uint32_t, kLanes>;
static_assert(sizeof(float) + sizeof(Signs) == kOneBitBytes);

[[gnu::always_inline]] inline float with_sign(std::uint32_t magnitude, std::uint32_t signs, std::size_t round) {
  return std::bit_cast<float>(magnitude | (signs >> round) << 31);
}

struct PackLoop {
  const float* gradient;
  float* residual;
  std::byte* records;

  [[gnu::always_inline]] void operator()(std::size_t num_records) const {
    for (std::size_t r = 0; r < num_records; ++r)
      pack(gradient + r * kBlock, residual + r * kBlock, records + r * kOneBitBytes);
  }

  [[gnu::always_inline]] static void pack(const float* new_values, float* kept, std::byte* record) {
    std::array<float, kBlock> all;
    std::array<float, kLanes> sums{};
    Signs signs{};
    for (std::size_t round = 0; round < kRounds; ++round) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const float value = new_values[round * kLanes + lane] + kept[round * kLanes + lane];
        all[round * kLanes + lane] = value;
        sums[lane] += std::fabs(value);
        signs[lane] |= std::bit_cast<std::uint32_t>(value) >> 31 << round;
      }
    }
    float mean = 0;
    for (const float sum : sums) mean += sum;
    mean /= static_cast<float>(kBlock);
    std::memcpy(record, &mean, sizeof(mean));
    std::memcpy(record + sizeof(mean), signs.data(), sizeof(signs));
    if (!std::isfinite(mean)) return;
    const auto magnitude = std::bit_cast<std::uint32_t>(mean);
    for (std::size_t round = 0; round < kRounds; ++round) {
      for (std::size_t lane = 0; lane < kLanes; ++lane)
        kept[round * kLanes + lane] = all[round * kLanes + lane] - with_sign(magnitude, signs[lane], round);
    }
  }
};

struct SumLoop {
  std::span<const std::byte* const> sources;
  float* sum;

  [[gnu::always_inline]] void operator()(std::size_t num_records) const {
    std::array<float, kBlock> total{};
    for (std::size_t r = 0; r < num_records; ++r) {
      for (std::size_t s = 0; s < sources.size(); ++s) {
        std::uint32_t magnitude = 0;
        Signs signs;
        std::memcpy(&magnitude, sources[s] + r * kOneBitBytes, sizeof(magnitude));
        std::memcpy(signs.data(), sources[s] + r * kOneBitBytes + sizeof(magnitude), sizeof(signs));
        for (std::size_t round = 0; round < kRounds; ++round) {
          for (std::size_t lane = 0; lane < kLanes; ++lane) {
            const float value = with_sign(magnitude, signs[lane], round);
            float& at = total[round * kLanes + lane];
            at = s == 0 ? value : at + value;
          }
        }
      }
      std::memcpy(sum + r * kBlock, total.data(), sizeof(total));
    }
  }
};

}  // namespace

void pack_one_bit(std::span<const float> gradient, std::span<float> residual, std::byte* records) {
  SLUICE_CHECK(gradient.size() == residual.size() && gradient.size() % kBlock == 0, gradient.size());
  run_widest(PackLoop{gradient.data(), residual.data(), records}, gradient.size() / kBlock);
}

void sum_one_bit(std::span<const std::byte* const> sources, std::span<float> sum) {
  SLUICE_CHECK(!sources.empty() && sum.size() % kBlock == 0, sum.size());
  run_widest(SumLoop{sources, sum.data()}, sum.size() / kBlock);
}

}  // namespace sluice
