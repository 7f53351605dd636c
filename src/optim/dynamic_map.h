// The dynamic map of 8-bit optimizers (Dettmers et al., arXiv 2110.02861; bitsandbytes' functional.py): 256 numbers in
// [-1, 1] or [0, 1] whose relative precision falls by powers of ten towards zero. For each decade 10^(i-7) to 10^(i-6),
// i = 0..6, the midpoints of 2^i (unsigned: 2^(i+1)) equal intervals; and 0 and 1.
#pragma once
#include <array>
#include <bit>
#include <cstdint>

namespace sluice::optim {

/// The numbers in ascending order, and for each float the code of the nearest.
class DynamicMap {
 public:
  explicit DynamicMap(bool with_sign);

  [[nodiscard]] const std::array<float, 256>& values() const { return values_; }

  /// Nearest number to `x`, |x| <= 1; the lower of two equally near. With signs, a number that is not zero keeps its
  /// sign even where zero is nearer (and -0 counts as negative), as in bitsandbytes' kernel.
  [[nodiscard]] std::uint8_t slow_code(float x) const;

  /// What `code` looks up, for loops.
  struct Cells {
    const std::uint32_t* entries;
    int shift;
    std::uint32_t lowest, size;
  };
  [[nodiscard]] Cells cells() const {
    return {entries_.data(), with_sign_ ? 17 : 16, with_sign_ ? kLowest / 2 : kLowest,
            with_sign_ ? kSignedCells : kCells};
  }

  /// The same code from one table: a float's leading bits name a cell that holds at most one border between codes.
  [[gnu::always_inline]] static std::uint32_t code(const Cells& cells, float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t negative = bits >> 31, magnitude = bits & 0x7fffffffU;
    const std::uint32_t mask = (1U << cells.shift) - 1, floor = cells.lowest << cells.shift;
    const std::uint32_t in_range = magnitude > floor ? magnitude : floor;
    const std::uint32_t entry = cells.entries[(in_range >> cells.shift) - cells.lowest + negative * cells.size];
    const std::uint32_t within = (in_range & mask) ^ (negative != 0 ? mask : 0U);
    return (entry >> kBorderBits) + (within > (entry & kBorderMask) ? 1U : 0U);
  }

 private:
  static constexpr std::uint32_t kBorderBits = 20, kBorderMask = (1U << kBorderBits) - 1;
  static constexpr std::uint32_t kLowest = (127 - 23) << 7, kHighest = 127 << 7;  // 2^-23 and 1: sixteen leading bits
  static constexpr std::uint32_t kCells = kHighest - kLowest + 1, kSignedCells = kHighest / 2 - kLowest / 2 + 1;

  void fill_values();
  void fill_cells();

  bool with_sign_;
  std::array<float, 256> values_{};
  std::array<std::uint32_t, kCells + 1> entries_{};  // code of the cell's lower end, and the last place with it
};

/// With signs: for first moments.
const DynamicMap& signed_dynamic_map();
/// For second moments.
const DynamicMap& unsigned_dynamic_map();

}  // namespace sluice::optim
