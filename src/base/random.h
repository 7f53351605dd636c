// Counter-based random numbers (Philox4x32-10; Salmon et al., SC'11): a value is a pure function of its key and
// counter, so it is the same for any tier, order, shard or resume point.
#pragma once
#include <array>
#include <cstdint>

namespace sluice {

/// Who asks: every use of randomness has its own stream.
struct RandomKey {
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;  ///< purpose, step, block and micro-batch mixed by `mix`
};

/// 128 random bits for `counter` under `key`.
std::array<std::uint32_t, 4> philox(const RandomKey& key, std::uint64_t counter);

/// Order-sensitive mixing of identifiers into a stream number (splitmix64 steps).
std::uint64_t mix(std::uint64_t a, std::uint64_t b);

/// Uniform in [0, 1) with 24 random bits.
float uniform(const RandomKey& key, std::uint64_t counter);

/// Standard normal by Box-Muller from the 128 bits of `counter`.
float normal(const RandomKey& key, std::uint64_t counter);

/// Uniform integer in [0, bound), bound > 0, without modulo bias beyond 2^-32 for bounds below 2^32.
std::uint64_t below(const RandomKey& key, std::uint64_t counter, std::uint64_t bound);

}  // namespace sluice
