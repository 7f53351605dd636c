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
  static float widen(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
  static std::uint16_t narrow(float value) { return float_to_bfloat(value); }
};
struct Fp16 {
  static float widen(std::uint16_t bits) { return half_to_float(bits); }
  static std::uint16_t narrow(float value) { return float_to_half(value); }
};

template <typename Format>
struct WidenLoop {
  std::byte* wide;
  const std::byte* narrow;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    std::array<std::uint16_t, kRun> in;
    std::array<float, kRun> out;
    std::size_t i = 0;
    for (; i + kRun <= count; i += kRun) {
      std::memcpy(in.data(), narrow + 2 * i, sizeof(in));
      for (std::size_t j = 0; j < kRun; ++j) out[j] = Format::widen(in[j]);
      std::memcpy(wide + 4 * i, out.data(), sizeof(out));
    }
    for (; i < count; ++i) {
      std::memcpy(in.data(), narrow + 2 * i, 2);
      out[0] = Format::widen(in[0]);
      std::memcpy(wide + 4 * i, out.data(), 4);
    }
  }
};

template <typename Format>
struct NarrowLoop {
  const float* from;
  std::uint16_t* to;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    const float* __restrict const wide = from;
    std::uint16_t* __restrict const bits = to;
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
}

void widen(NumberFormat format, const std::byte* stored, std::span<float> numbers) {
  SLUICE_CHECK(format != NumberFormat::OneBit);
  auto* const wide = reinterpret_cast<std::byte*>(numbers.data());
  if (format == NumberFormat::Fp32 && wide != stored) std::memmove(wide, stored, numbers.size_bytes());
  if (format == NumberFormat::Bf16) run_widest(WidenLoop<Bf16>{wide, stored}, numbers.size());
  if (format == NumberFormat::Fp16) run_widest(WidenLoop<Fp16>{wide, stored}, numbers.size());
  if (format == NumberFormat::Nf4) unpack_nf4(stored, numbers);
}

void narrow_in_place(NumberFormat format, std::span<float> numbers) {
  auto* const wide = reinterpret_cast<std::byte*>(numbers.data());
  std::byte* const half = wide + numbers.size_bytes() / 2;
  if (format == NumberFormat::Bf16) run_widest(NarrowInPlaceLoop<Bf16>{wide, half}, numbers.size());
  if (format == NumberFormat::Fp16) run_widest(NarrowInPlaceLoop<Fp16>{wide, half}, numbers.size());
}

void narrow(NumberFormat format, std::span<const float> from, std::span<std::uint16_t> to) {
  SLUICE_CHECK((format == NumberFormat::Bf16 || format == NumberFormat::Fp16) && from.size() == to.size());
  if (format == NumberFormat::Bf16) run_widest(NarrowLoop<Bf16>{from.data(), to.data()}, from.size());
  if (format == NumberFormat::Fp16) run_widest(NarrowLoop<Fp16>{from.data(), to.data()}, from.size());
}

}  // namespace sluice
