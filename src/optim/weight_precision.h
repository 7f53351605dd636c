// Weights of fewer bits than fp32: what an update makes of the exact number that a rule computes. A rule knows nothing
// of it: it is wrapped, and what the weights lose is a state like any other.
#pragma once
#include <bit>
#include <cstdint>
#include <memory>
#include <span>

#include "base/narrow.h"
#include "optim/rule.h"

namespace sluice::optim {

/// What is kept of a weight beside the fewer bits that are computed with.
enum class Master {
  None,   ///< nothing: the number is rounded, at random up or down where small updates must not be lost (not in Fp8)
  Fp32,   ///< the whole number, state "master"
  Split,  ///< what the rounding took away, state "master_low": 16 bits more and the fp32 number is there again
};

struct WeightPrecision {
  NumberFormat weights = NumberFormat::Fp32;
  Master master = Master::None;
  bool stochastic_rounding = true;  ///< bf16 without a master; else to the nearest
};

/// An fp32 number as the bf16 nearest to it (ties away from zero) and 16 bits more, which together are its bits.
inline float high_half(float exact) {
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(exact) + 0x8000U) & 0xffff0000U);
}
inline std::uint16_t low_half(float exact) { return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(exact)); }
inline float join_weight(float high, std::uint16_t low) {
  const auto signed_low = static_cast<std::uint32_t>(static_cast<std::int32_t>(static_cast<std::int16_t>(low)));
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(high) + signed_low);
}

/// What the weights of a tensor of so many dimensions have: 8 bits are for matrices, vectors beside them stay fp32.
[[nodiscard]] inline NumberFormat format_of(NumberFormat weights, std::size_t num_dimensions) {
  return weights == NumberFormat::Fp8 && num_dimensions < 2 ? NumberFormat::Fp32 : weights;
}

/// What a weight is before the first update, in place: the number that was loaded as an update would leave it.
void round_loaded(const WeightPrecision& precision, std::span<float> weights);
/// The start of a state with Start::Weight, from the weights as they were loaded.
void lower_halves(std::span<const float> weights, std::span<std::uint16_t> low);

/// `rule` for weights that are fp32 numbers and have only values of `precision.weights` (`format_of`), before and after
/// each update: what computes is independent of where they are stored in fewer bits. Passes that measure see these
/// values. Split is for bf16 (arXiv 2010.06192 compares the three). Returns `rule` itself for fp32 weights.
std::unique_ptr<UpdateRule> with_weight_precision(std::unique_ptr<UpdateRule> rule, const WeightPrecision& precision);

}  // namespace sluice::optim
