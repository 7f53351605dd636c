// Numbers as their signs and one magnitude for each block of them: what ranks send of gradients, while what is not sent
// is kept and added the next time (error feedback: 1-bit SGD, Seide et al., Interspeech 2014; with the mean magnitude
// as scale EF-SignSGD, Karimireddy et al., arXiv 1901.09847).
//
// 256 numbers are a record: the magnitude in fp32, then the signs. Bit j of the k-th 32-bit word is of number 8 j + k.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/units.h"

namespace sluice {

inline constexpr std::int64_t kOneBitElements = 256;            ///< of a record
inline constexpr Bytes kOneBitBytes = 4 + kOneBitElements / 8;  ///< of a record

/// Bytes of the records that `elements` take.
[[nodiscard]] constexpr Bytes one_bit_bytes(std::int64_t elements) {
  return (elements + kOneBitElements - 1) / kOneBitElements * kOneBitBytes;
}

/// Of c = gradient + residual: the signs, and of each block the mean of |c|. What they do not say of c is the new
/// residual: all that was sent and the residual are together all gradients so far. A block whose mean is not finite is
/// sent so, and its residual stays. Both spans are as long, a multiple of kOneBitElements. Same bits with every
/// instruction set.
void pack_one_bit(std::span<const float> gradient, std::span<float> residual, std::byte* records);

/// sum[i] = sources[0][i] + sources[1][i] + ... from left to right, of records of as many numbers (a multiple of
/// kOneBitElements). Same bits with every instruction set.
void sum_one_bit(std::span<const std::byte* const> sources, std::span<float> sum);

}  // namespace sluice
