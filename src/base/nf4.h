// NF4 with double quantisation (QLoRA, arXiv 2305.14314) with the codes of bitsandbytes' quantize_4bit(quant_type
// "nf4", blocksize 64, compress_statistics): a block of 64 elements is its largest magnitude times one of 16 numbers
// each. What these magnitudes differ from their mean over the tensor is stored in 8 bits (the signed dynamic map), with
// one fp32 scale for 256 of them.
//
// 4096 elements are a record: 2048 bytes of codes (the earlier element of two in the high half), 64 bytes of
// magnitudes, scale and mean. So a record can be read without its tensor, for a twelfth of a percent of a parameter's
// 0.516 bytes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/units.h"

namespace sluice {

inline constexpr std::int64_t kNf4Elements = 4096;  ///< of a record
inline constexpr Bytes kNf4Bytes = 2048 + 64 + 8;   ///< of a record
/// Elements with one scale, from the start of a tensor on: what is packed together.
inline constexpr std::int64_t kNf4Group = 64 * 256;

/// The mean over a tensor's blocks of their largest magnitudes.
class Nf4Mean {
 public:
  /// The tensor's elements in their order; every piece but the last a multiple of 64.
  void add(std::span<const float> elements);
  [[nodiscard]] float value() const {
    return blocks_ == 0 ? 0.0F : static_cast<float>(sum_ / static_cast<double>(blocks_));
  }

 private:
  double sum_ = 0;
  std::int64_t blocks_ = 0;
};

/// Bytes of the records that `elements` take.
[[nodiscard]] constexpr Bytes nf4_bytes(std::int64_t elements) {
  return (elements + kNf4Elements - 1) / kNf4Elements * kNf4Bytes;
}

/// Records of elements of a tensor, from a multiple of kNf4Group on; of a group that is cut its tensor must end there.
/// `records` has nf4_bytes(elements.size()).
void pack_nf4(std::span<const float> elements, float mean, std::span<std::byte> records);

/// All elements of the records at `records`; `elements` is a multiple of kNf4Elements long. The records may lie in the
/// memory of `elements`, if they end where it does or up to a page before. Same bits with every instruction set.
void unpack_nf4(const std::byte* records, std::span<float> elements);

}  // namespace sluice
