#include "data/permutation.h"

#include <bit>

#include "base/check.h"
#include "base/random.h"

namespace sluice::data {
namespace {

constexpr std::uint64_t kPurpose = 0x73687566666c65;  // "shuffle": its own stream of random numbers
constexpr std::uint64_t kNumRounds = 6;

}  // namespace

std::uint64_t Permutation::operator()(std::uint64_t index) const {
  SLUICE_CHECK(index < size && size <= (std::uint64_t{1} << 62), "index ", index, " of ", size);
  const int half = (std::bit_width(size - 1) + 1) / 2;
  const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
  const RandomKey key{seed, mix(kPurpose, epoch)};
  do {
    std::uint64_t left = index >> half;
    std::uint64_t right = index & mask;
    for (std::uint64_t round = 0; round < kNumRounds; ++round) {
      const auto bits = philox(key, round << 32 | right);
      const std::uint64_t next = left ^ (bits[0] & mask);
      left = right;
      right = next;
    }
    index = left << half | right;
  } while (index >= size);
  return index;
}

}  // namespace sluice::data
