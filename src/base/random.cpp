#include "base/random.h"

#include <cmath>
#include <numbers>

namespace sluice {

std::array<std::uint32_t, 4> philox(const RandomKey& key, std::uint64_t counter) {
  constexpr std::uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr std::uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  std::array<std::uint32_t, 4> x = {static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
                                    static_cast<std::uint32_t>(key.stream),
                                    static_cast<std::uint32_t>(key.stream >> 32)};
  auto k0 = static_cast<std::uint32_t>(key.seed);
  auto k1 = static_cast<std::uint32_t>(key.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = kMultiplier0 * x[0];
    const std::uint64_t p1 = kMultiplier1 * x[2];
    x = {static_cast<std::uint32_t>(p1 >> 32) ^ x[1] ^ k0, static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ x[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return x;
}

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t z = a + 0x9E3779B97F4A7C15ULL * (b + 1);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

float uniform(const RandomKey& key, std::uint64_t counter) {
  return static_cast<float>(philox(key, counter)[0] >> 8) * 0x1p-24F;
}

float normal(const RandomKey& key, std::uint64_t counter) {
  const auto bits = philox(key, counter);
  const double u1 = (static_cast<double>(bits[0]) + 1.0) * 0x1p-32;
  const double u2 = static_cast<double>(bits[1]) * 0x1p-32;
  return static_cast<float>(std::sqrt(-2.0 * std::log(u1)) * std::cos(2.0 * std::numbers::pi * u2));
}

std::uint64_t below(const RandomKey& key, std::uint64_t counter, std::uint64_t bound) {
  const auto bits = philox(key, counter);
  const std::uint64_t value = (static_cast<std::uint64_t>(bits[0]) << 32) | bits[1];
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(value) * bound) >> 64);
}

}  // namespace sluice
