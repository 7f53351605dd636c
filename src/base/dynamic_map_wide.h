// The dynamic map's loops where a processor looks up bytes in its registers (AVX-512 VBMI): a table of 256 floats is
// four tables of bytes, sixty-four lookups in three instructions each. Gathers would take fifteen times as long.
// Private to dynamic_map.cpp.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/dynamic_map.h"

namespace sluice {

/// Elements that the loops take at a time: every count is a multiple of it.
inline constexpr std::size_t kWideRun = 64;

/// DynamicMap::decode. `planes`: of its values.
void decode_wide(const std::uint8_t* planes, const std::uint8_t* codes, std::size_t count, float scale, float* numbers);
/// DynamicMap::encode. `planes`: of the borders.
void encode_wide(const DynamicMap::Ranks& ranks, const std::uint8_t* planes, bool with_sign,
                 std::span<const float> numbers, float scale, std::uint8_t* codes);

}  // namespace sluice
