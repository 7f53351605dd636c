#include "optim/norm.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/isa.h"
#include "optim/block_sum.h"

namespace sluice::optim {
namespace {

constexpr int kLowestExponent = -298;

struct BlockLoop {
  const float* values;
  double* result;

  [[gnu::always_inline]] void operator()(std::size_t count) const { *result = block_sum_of_squares(values, count); }
};

}  // namespace

void SquareSum::add(std::span<const float> values) {
  for (std::size_t first = 0; first < values.size(); first += kNormBlock) {
    double partial = 0;
    run_widest(BlockLoop{values.data() + first, &partial}, std::min(kNormBlock, values.size() - first));
    add(partial);
  }
}

void SquareSum::merge(const SquareSum& other) {
  for (std::size_t i = 0; i < limbs_.size(); ++i) add_limb(i, other.limbs_[i]);
  nonfinite_ += other.nonfinite_;
}

void SquareSum::add(double partial) {
  if (!std::isfinite(partial)) {
    nonfinite_ += partial;
    return;
  }
  // Sums of squares of floats are multiples of 2^-298 and never subnormal, so the 53 bits below land on whole bits.
  if (partial == 0) return;
  const auto bits = std::bit_cast<std::uint64_t>(partial);
  const int exponent = static_cast<int>(bits >> 52) - 1023 - 52;
  std::uint64_t mantissa = (bits & ((std::uint64_t{1} << 52) - 1)) | (std::uint64_t{1} << 52);
  int position = exponent - kLowestExponent;
  if (position < 0) {
    mantissa >>= -position;
    position = 0;
  }
  const auto limb = static_cast<std::size_t>(position / 64);
  const int shift = position % 64;
  add_limb(limb, mantissa << shift);
  if (shift > 11) add_limb(limb + 1, mantissa >> (64 - shift));
}

void SquareSum::add_limb(std::size_t index, std::uint64_t amount) {
  while (amount != 0 && index < limbs_.size()) {
    const std::uint64_t before = limbs_[index];
    limbs_[index] = before + amount;
    amount = limbs_[index] < before ? 1 : 0;
    ++index;
  }
}

double SquareSum::value() const {
  if (nonfinite_ != 0) return nonfinite_;  // true for NaN
  std::size_t top = limbs_.size();
  while (top > 0 && limbs_[top - 1] == 0) --top;
  if (top == 0) return 0;
  // Two limbs keep at least 65 significant bits; what lies below is folded into the last, so one rounding is left.
  const std::size_t low = top >= 2 ? top - 2 : 0;
  unsigned __int128 head = limbs_[top - 1];
  if (top >= 2) head = (head << 64) | limbs_[low];
  for (std::size_t i = 0; i < low; ++i) head |= limbs_[i] != 0 ? 1 : 0;
  return std::ldexp(static_cast<double>(head), kLowestExponent + 64 * static_cast<int>(low));
}

double sum_of_squares(std::span<const float> values) {
  SquareSum sum;
  sum.add(values);
  return sum.value();
}

float clip_coefficient(double total_norm, double max_norm) {
  if (max_norm <= 0) return 1.0F;
  const double coefficient = max_norm / (total_norm + 1e-6);
  return coefficient > 1 ? 1.0F : static_cast<float>(coefficient);
}

}  // namespace sluice::optim
