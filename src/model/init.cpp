#include "model/init.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string_view>

#include "base/random.h"

namespace sluice::model {
namespace {

// FNV-1a: the stream number of a name must never change, so it is not left to std::hash.
std::uint64_t hash_name(std::string_view name) {
  std::uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return hash;
}

// Four standard normals of one counter by Box-Muller, 24 random bits per uniform: tails reach 5.7 standard deviations.
std::array<float, 4> four_normals(const RandomKey& key, std::uint64_t counter) {
  const auto bits = philox(key, counter);
  std::array<float, 4> normals{};
  for (std::size_t pair = 0; pair < 4; pair += 2) {
    const float u = (static_cast<float>(bits[pair] >> 8) + 1.0F) * 0x1p-24F;
    const float angle = static_cast<float>(bits[pair + 1] >> 8) * (0x1p-23F * std::numbers::pi_v<float>);
    const float radius = std::sqrt(-2.0F * std::log(u));
    normals[pair] = radius * std::cos(angle);
    normals[pair + 1] = radius * std::sin(angle);
  }
  return normals;
}

// Four of one counter in [-1, 1).
std::array<float, 4> four_uniforms(const RandomKey& key, std::uint64_t counter) {
  const auto bits = philox(key, counter);
  std::array<float, 4> uniforms{};
  for (std::size_t i = 0; i < 4; ++i) uniforms[i] = static_cast<float>(bits[i] >> 8) * 0x1p-23F - 1.0F;
  return uniforms;
}

}  // namespace

void init_parameter(const ParameterSpec& spec, std::uint64_t seed, std::int64_t first_element, std::span<float> out) {
  if (spec.init == ParameterSpec::Init::Ones || spec.init == ParameterSpec::Init::Zeros) {
    std::fill(out.begin(), out.end(), spec.init == ParameterSpec::Init::Ones ? 1.0F : 0.0F);
    return;
  }
  constexpr std::uint64_t kUse = 0x696E6974;  // "init"
  const RandomKey key{seed, mix(hash_name(spec.name), kUse)};
  const auto std = static_cast<float>(spec.std);
  const auto end = static_cast<std::int64_t>(out.size());
  for (std::int64_t i = 0; i < end;) {
    const std::int64_t element = first_element + i;
    const auto counter = static_cast<std::uint64_t>(element / 4);
    const auto values =
        spec.init == ParameterSpec::Init::Uniform ? four_uniforms(key, counter) : four_normals(key, counter);
    for (auto lane = static_cast<std::size_t>(element % 4); lane < 4 && i < end; ++lane, ++i) {
      out[static_cast<std::size_t>(i)] = std * values[lane];
    }
  }
}

}  // namespace sluice::model
