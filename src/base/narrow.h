// Numbers of fewer bits where they are stored and fp32 where they are used: how a run of them changes its width.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/units.h"

namespace sluice {

/// Nf4 (nf4.h) is for whole tensors that nothing writes again: numbers alone do not say how to round to it. OneBit
/// (one_bit.h) is for what ranks send alone, beside what it leaves over. Fp8 is E4M3 (arXiv 2209.05433: four bits of
/// exponent, three of mantissa, no infinity) times kFp8Unit: of a number up to kFp8Most it is off by at most a
/// sixteenth of it or kFp8Unit / 1024, whichever is more.
enum class NumberFormat { Fp32, Bf16, Fp16, Fp8, Nf4, OneBit };
inline constexpr float kFp8Unit = 0x1p-4F, kFp8Most = 448 * kFp8Unit;

/// "fp32", "bf16", "fp16", "fp8", "nf4", "1bit".
[[nodiscard]] const char* name(NumberFormat format);

/// Bytes of so many numbers. Of Nf4 and OneBit they are whole records.
[[nodiscard]] Bytes stored_bytes(NumberFormat format, std::int64_t count);

/// The nearest number that `format` has (ties to even), in place. Infinity where the format's range ends (of Fp8:
/// kFp8Most, and NaN for infinity); NaN stays.
void round_to(NumberFormat format, std::span<float> numbers);

/// Makes fp32 of stored numbers, exact. `stored` may lie in the memory of `numbers`, if its bytes end where that does
/// or, of Nf4, up to a page before.
void widen(NumberFormat format, const std::byte* stored, std::span<float> numbers);

/// The other way for 16 bits: the numbers, rounded like `round_to`, fill the upper half of the bytes of `numbers`.
void narrow_in_place(NumberFormat format, std::span<float> numbers);

/// Bf16, Fp16 or Fp8 into other memory (stored_bytes of `from` at `to`, no overlap). Exact for numbers that `format`
/// has; else rounded like `round_to`.
void narrow(NumberFormat format, std::span<const float> from, std::byte* to);

}  // namespace sluice
