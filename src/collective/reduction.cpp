#include "collective/reduction.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "base/error.h"
#include "base/half.h"

namespace sluice::collective {
namespace {

// Accumulators that stay in the first-level cache.
constexpr std::int64_t kTile = 1024;

struct AsFp32 {
  using Stored = float;
  using Sum = float;
  static float load(float value) { return value; }
  static float store(float value) { return value; }
};

struct AsBf16 {
  using Stored = std::uint16_t;
  using Sum = float;
  static float load(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
  static std::uint16_t store(float value) { return float_to_bfloat(value); }
};

struct AsFp16 {
  using Stored = std::uint16_t;
  using Sum = float;
  static float load(std::uint16_t bits) { return half_to_float(bits); }
  static std::uint16_t store(float value) { return float_to_half(value); }
};

// Unsigned, so that an overflow wraps.
struct AsInt64 {
  using Stored = std::int64_t;
  using Sum = std::uint64_t;
  static std::uint64_t load(std::int64_t value) { return static_cast<std::uint64_t>(value); }
  static std::int64_t store(std::uint64_t value) { return static_cast<std::int64_t>(value); }
};

struct AsByte {
  using Stored = std::uint8_t;
  using Sum = std::uint8_t;
  static std::uint8_t load(std::uint8_t value) { return value; }
  static std::uint8_t store(std::uint8_t value) { return value; }
};

float larger(float a, float b) { return std::isnan(a) || a > b ? a : b; }
std::uint64_t larger(std::uint64_t a, std::uint64_t b) {
  return static_cast<std::int64_t>(a) > static_cast<std::int64_t>(b) ? a : b;
}
std::uint8_t larger(std::uint8_t a, std::uint8_t b) { return std::max(a, b); }

template <typename Format, typename Combine>
void run(void* target, std::span<const void* const> sources, std::int64_t count, Combine combine) {
  using Stored = typename Format::Stored;
  std::array<typename Format::Sum, kTile> sums;
  for (std::int64_t begin = 0; begin < count; begin += kTile) {
    const std::int64_t size = std::min(kTile, count - begin);
    const auto* first = static_cast<const Stored*>(sources[0]) + begin;
    for (std::int64_t i = 0; i < size; ++i) sums[i] = Format::load(first[i]);
    for (const void* source : sources.subspan(1)) {
      const auto* values = static_cast<const Stored*>(source) + begin;
      for (std::int64_t i = 0; i < size; ++i) sums[i] = combine(sums[i], Format::load(values[i]));
    }
    auto* out = static_cast<Stored*>(target) + begin;
    for (std::int64_t i = 0; i < size; ++i) out[i] = Format::store(sums[i]);
  }
}

template <typename Format>
void run(void* target, std::span<const void* const> sources, std::int64_t count, Reduce reduce) {
  using Sum = typename Format::Sum;
  if (reduce == Reduce::Sum) {
    run<Format>(target, sources, count, [](Sum a, Sum b) { return static_cast<Sum>(a + b); });
  } else {
    run<Format>(target, sources, count, [](Sum a, Sum b) { return larger(a, b); });
  }
}

}  // namespace

void reduce_in_order(void* target, std::span<const void* const> sources, std::int64_t count, ElementType type,
                     Reduce reduce) {
  switch (type) {
    case ElementType::Fp32:
      return run<AsFp32>(target, sources, count, reduce);
    case ElementType::Bf16:
      return run<AsBf16>(target, sources, count, reduce);
    case ElementType::Fp16:
      return run<AsFp16>(target, sources, count, reduce);
    case ElementType::Int64:
      return run<AsInt64>(target, sources, count, reduce);
    case ElementType::Byte:
      if (reduce == Reduce::Sum) {
        throw ConfigError("collective", "a sum of bytes was asked for", "expected a number type, got bytes");
      }
      return run<AsByte>(target, sources, count, reduce);
  }
}

}  // namespace sluice::collective
