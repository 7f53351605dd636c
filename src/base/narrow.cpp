#include "base/narrow.h"

#include <array>
#include <cstring>

#include "base/check.h"
#include "base/half.h"
#include "base/isa.h"
#include "base/nf4.h"
#include "base/one_bit.h"

namespace sluice {
namespace {

constexpr std::size_t kRun = 16;  // read as a whole before it is written: wide and narrow places may overlap

// The formats as pairs of functions that the loops below inline.
struct Bf16 {
  using Bits = std::uint16_t;
  static float widen(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
  static std::uint16_t narrow(float value) { return float_to_bfloat(value); }
};
struct Fp16 {
  using Bits = std::uint16_t;
  static float widen(std::uint16_t bits) { return half_to_float(bits); }
  static std::uint16_t narrow(float value) { return float_to_half(value); }
};
// Selections in place of branches, so that the loops are vectors. Small numbers are whole multiples of the least one.
struct Fp8 {
  using Bits = std::uint8_t;
  static constexpr float kLeast = kFp8Unit * 0x1p-9F, kLeastNormal = kFp8Unit * 0x1p-6F;
  // Between the exponents of both formats and the unit's, above the 3 bits of the mantissa.
  static constexpr std::uint32_t kExponentShift = ((std::bit_cast<std::uint32_t>(kFp8Unit) >> 23) - 7U) << 3;

  static float widen(std::uint8_t bits) {
    const std::uint32_t magnitude = bits & 0x7fU;
    const float normal = std::bit_cast<float>((magnitude + kExponentShift) << 20);
    const float small = static_cast<float>(static_cast<std::int32_t>(magnitude)) * kLeast;
    const float value = magnitude < 8 ? small : normal;
    const std::uint32_t nan = magnitude == 0x7fU ? 0x7fc00000U : 0U;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | nan | (bits & 0x80U) << 24);
  }
  static std::uint8_t narrow(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value), sign = bits >> 24 & 0x80U;
    const std::uint32_t magnitude = bits & 0x7fffffffU;
    const std::uint32_t rounded = ((magnitude + 0x7ffffU + (magnitude >> 20 & 1U)) >> 20) - kExponentShift;
    // A sum with a power of two leaves the number of kLeasts, rounded, in the lowest bits.
    const float shifted = std::bit_cast<float>(magnitude) * (1 / kLeast) + 0x1p23F;
    const std::uint32_t small = std::bit_cast<std::uint32_t>(shifted) & 0xfU;
    const std::uint32_t code = magnitude < std::bit_cast<std::uint32_t>(kLeastNormal) ? small : rounded;
    const std::uint32_t limited = magnitude >= std::bit_cast<std::uint32_t>(kFp8Most) ? 0x7eU : code;
    return static_cast<std::uint8_t>((magnitude >= 0x7f800000U ? 0x7fU : limited) | sign);
  }
};

template <typename Format>
struct WidenLoop {
  std::byte* wide;
  const std::byte* narrow;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    constexpr std::size_t kSize = sizeof(typename Format::Bits);
    std::array<typename Format::Bits, kRun> in;
    std::array<float, kRun> out;
    std::size_t i = 0;
    for (; i + kRun <= count; i += kRun) {
      std::memcpy(in.data(), narrow + kSize * i, sizeof(in));
      for (std::size_t j = 0; j < kRun; ++j) out[j] = Format::widen(in[j]);
      std::memcpy(wide + 4 * i, out.data(), sizeof(out));
    }
    for (; i < count; ++i) {
      std::memcpy(in.data(), narrow + kSize * i, kSize);
      out[0] = Format::widen(in[0]);
      std::memcpy(wide + 4 * i, out.data(), 4);
    }
  }
};

template <typename Format>
struct NarrowLoop {
  const float* from;
  std::byte* to;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    const float* __restrict const wide = from;
    auto* __restrict const bits = reinterpret_cast<typename Format::Bits*>(to);
    for (std::size_t i = 0; i < count; ++i) bits[i] = Format::narrow(wide[i]);
  }
};

// From the last one down: what is written lies above all that is still to be read.
template <typename Format>
struct NarrowInPlaceLoop {
  const std::byte* wide;
  std::byte* narrow;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    std::array<float, kRun> in;
    std::array<std::uint16_t, kRun> out;
    std::size_t i = count;
    for (; i % kRun != 0; --i) {
      std::memcpy(in.data(), wide + 4 * (i - 1), 4);
      out[0] = Format::narrow(in[0]);
      std::memcpy(narrow + 2 * (i - 1), out.data(), 2);
    }
    for (; i > 0; i -= kRun) {
      std::memcpy(in.data(), wide + 4 * (i - kRun), sizeof(in));
      for (std::size_t j = 0; j < kRun; ++j) out[j] = Format::narrow(in[j]);
      std::memcpy(narrow + 2 * (i - kRun), out.data(), sizeof(out));
    }
  }
};

template <typename Format>
struct RoundLoop {
  float* numbers;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* const values = numbers;
    for (std::size_t i = 0; i < count; ++i) values[i] = Format::widen(Format::narrow(values[i]));
  }
};

}  // namespace

const char* name(NumberFormat format) {
  switch (format) {
    case NumberFormat::Fp32:
      return "fp32";
    case NumberFormat::Bf16:
      return "bf16";
    case NumberFormat::Fp16:
      return "fp16";
    case NumberFormat::Fp8:
      return "fp8";
    case NumberFormat::Nf4:
      return "nf4";
    case NumberFormat::OneBit:
      return "1bit";
  }
  return "?";
}

Bytes stored_bytes(NumberFormat format, std::int64_t count) {
  switch (format) {
    case NumberFormat::Fp32:
      break;
    case NumberFormat::Bf16:
    case NumberFormat::Fp16:
      return count * Bytes{sizeof(std::uint16_t)};
    case NumberFormat::Fp8:
      return count;
    case NumberFormat::Nf4:
      return nf4_bytes(count);
    case NumberFormat::OneBit:
      return one_bit_bytes(count);
  }
  return count * Bytes{sizeof(float)};
}

void round_to(NumberFormat format, std::span<float> numbers) {
  SLUICE_CHECK(format != NumberFormat::Nf4 && format != NumberFormat::OneBit);
  if (format == NumberFormat::Bf16) run_widest(RoundLoop<Bf16>{numbers.data()}, numbers.size());
  if (format == NumberFormat::Fp16) run_widest(RoundLoop<Fp16>{numbers.data()}, numbers.size());
  if (format == NumberFormat::Fp8) run_widest(RoundLoop<Fp8>{numbers.data()}, numbers.size());
}

void widen(NumberFormat format, const std::byte* stored, std::span<float> numbers) {
  SLUICE_CHECK(format != NumberFormat::OneBit);
  auto* const wide = reinterpret_cast<std::byte*>(numbers.data());
  if (format == NumberFormat::Fp32 && wide != stored) std::memmove(wide, stored, numbers.size_bytes());
  if (format == NumberFormat::Bf16) run_widest(WidenLoop<Bf16>{wide, stored}, numbers.size());
  if (format == NumberFormat::Fp16) run_widest(WidenLoop<Fp16>{wide, stored}, numbers.size());
  if (format == NumberFormat::Fp8) run_widest(WidenLoop<Fp8>{wide, stored}, numbers.size());
  if (format == NumberFormat::Nf4) unpack_nf4(stored, numbers);
}

void narrow_in_place(NumberFormat format, std::span<float> numbers) {
  auto* const wide = reinterpret_cast<std::byte*>(numbers.data());
  std::byte* const half = wide + numbers.size_bytes() / 2;
  if (format == NumberFormat::Bf16) run_widest(NarrowInPlaceLoop<Bf16>{wide, half}, numbers.size());
  if (format == NumberFormat::Fp16) run_widest(NarrowInPlaceLoop<Fp16>{wide, half}, numbers.size());
}

void narrow(NumberFormat format, std::span<const float> from, std::byte* to) {
  SLUICE_CHECK(format == NumberFormat::Bf16 || format == NumberFormat::Fp16 || format == NumberFormat::Fp8);
  if (format == NumberFormat::Bf16) run_widest(NarrowLoop<Bf16>{from.data(), to}, from.size());
  if (format == NumberFormat::Fp16) run_widest(NarrowLoop<Fp16>{from.data(), to}, from.size());
  if (format == NumberFormat::Fp8) run_widest(NarrowLoop<Fp8>{from.data(), to}, from.size());
}

}  // namespace sluice
