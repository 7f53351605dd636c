// Numbers of 16 bits where they are stored and fp32 where they are used: how a run of them changes its width.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice {

enum class NumberFormat { Fp32, Bf16, Fp16 };

/// "fp32", "bf16", "fp16".
[[nodiscard]] const char* name(NumberFormat format);

/// The nearest number that `format` has (ties to even), in place. Infinity where the format's range ends; NaN stays.
void round_to(NumberFormat format, std::span<float> numbers);

/// Makes fp32 of numbers of 16 bits in place: they fill the upper half of the bytes of `numbers`. Exact.
void widen_in_place(NumberFormat format, std::span<float> numbers);

/// The other way: the numbers, rounded like `round_to`, fill the upper half of the bytes of `numbers`.
void narrow_in_place(NumberFormat format, std::span<float> numbers);

/// The same into other memory (`to` as long as `from`, no overlap). Exact for numbers that `format` has; else
/// rounded like `round_to`.
void narrow(NumberFormat format, std::span<const float> from, std::span<std::uint16_t> to);

}  // namespace sluice
