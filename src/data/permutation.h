// A random order of 0 ... size-1 that needs no table: a Feistel network on the next larger power of four, walked along
// its cycle until it lands inside (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002).
#pragma once
#include <cstdint>

namespace sluice::data {

struct Permutation {
  std::uint64_t seed = 0;
  std::uint64_t epoch = 0;
  std::uint64_t size = 1;  ///< 1 ... 2^62
  /// Where `index` (< size) goes: a bijection on 0 ... size-1, O(1) memory, under four network passes on average.
  [[nodiscard]] std::uint64_t operator()(std::uint64_t index) const;
};

}  // namespace sluice::data
