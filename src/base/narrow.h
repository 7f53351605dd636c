// Numbers of fewer bits where they are stored and fp32 where they are used: how a run of them changes its width.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/units.h"

namespace sluice {

/// Nf4 (nf4.h) is for whole tensors that nothing writes again: numbers alone do not say how to round to it. OneBit
/// (one_bit.h) is for what ranks send alone, beside what it leaves over.
enum class NumberFormat { Fp32, Bf16, Fp16, Nf4, OneBit };

/// "fp32", "bf16", "fp16", "nf4", "1bit".
[[nodiscard]] const char* name(NumberFormat format);

/// Bytes of so many numbers. Of Nf4 and OneBit they are whole records.
[[nodiscard]] Bytes stored_bytes(NumberFormat format, std::int64_t count);

/// The nearest number that `format` has (ties to even), in place. Infinity where the format's range ends; NaN stays.
void round_to(NumberFormat format, std::span<float> numbers);

/// Makes fp32 of stored numbers, exact. `stored` may lie in the memory of `numbers`, if its bytes end where that does
/// or, of Nf4, up to a page before.
void widen(NumberFormat format, const std::byte* stored, std::span<float> numbers);

/// The other way for 16 bits: the numbers, rounded like `round_to`, fill the upper half of the bytes of `numbers`.
void narrow_in_place(NumberFormat format, std::span<float> numbers);

/// The same into other memory (`to` as long as `from`, no overlap). Exact for numbers that `format` has; else
/// rounded like `round_to`.
void narrow(NumberFormat format, std::span<const float> from, std::span<std::uint16_t> to);

}  // namespace sluice
