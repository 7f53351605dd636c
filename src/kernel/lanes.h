// Pieces of vectorised loops. Everything is plain C++ that the compiler turns into vectors of whatever width it
// compiles for (base/isa.h): no fused multiply-adds and a fixed order of sums, so that every width gives the same bits.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>

namespace sluice::kernel {

inline constexpr std::size_t kLanes = 32;

/// Sum of term(i) over i < count: term i goes to lane i mod kLanes, then lanes are added pairwise.
template <typename Term>
[[gnu::always_inline]] inline float lane_sum(std::size_t count, const Term& term) {
  float lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  }
  for (std::size_t lane = 0; i + lane < count; ++lane) lanes[lane] += term(i + lane);
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::size_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return lanes[0];
}

/// The largest of values[i], i < count, count > 0; NaN is passed over.
[[gnu::always_inline]] inline float lane_max(const float* values, std::size_t count) {
  float lanes[kLanes];
  for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] = values[0];
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = lanes[lane] < values[i + lane] ? values[i + lane] : lanes[lane];
    }
  }
  for (; i < count; ++i) lanes[0] = lanes[0] < values[i] ? values[i] : lanes[0];
  float most = lanes[0];
  for (std::size_t lane = 1; lane < kLanes; ++lane) most = most < lanes[lane] ? lanes[lane] : most;
  return most;
}

/// e^x within 1.3e-7 relative for x in [-87.3, 88.3]; beyond, the value at that end. NaN stays NaN.
/// The range is reduced to [-ln 2 / 2, ln 2 / 2] with ln 2 in two parts (Cody and Waite); the polynomial is Cephes's
/// expf.
[[gnu::always_inline]] inline float fast_exp(float x) {
  x = x < -87.3F ? -87.3F : x;
  x = x > 88.3F ? 88.3F : x;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it leaves the nearest whole number in the low bits
  const float shifted = x * 1.44269504F + kRound;
  const float whole = shifted - kRound;
  float r = x - whole * 0.693359375F;
  r = r - whole * -2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * (r * r) + r + 1.0F;
  const std::uint32_t exponent = (std::bit_cast<std::uint32_t>(shifted) + 127U) << 23;
  return p * std::bit_cast<float>(exponent);
}

/// 1 / (1 + e^-x).
[[gnu::always_inline]] inline float fast_sigmoid(float x) { return 1.0F / (1.0F + fast_exp(-x)); }

}  // namespace sluice::kernel
