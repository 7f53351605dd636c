// The dynamic map of 8-bit optimizers (Dettmers et al., arXiv 2110.02861; bitsandbytes' functional.py): 256 numbers in
// [-1, 1] or [0, 1] whose relative precision falls by powers of ten towards zero. For each decade 10^(i-7) to 10^(i-6),
// i = 0..6, the midpoints of 2^i (unsigned: 2^(i+1)) equal intervals; and 0 and 1.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace sluice {

/// The numbers in ascending order, and for each float the code of the nearest. Same bits with every instruction set.
class DynamicMap {
 public:
  static constexpr std::size_t kDecades = 7;

  explicit DynamicMap(bool with_sign);

  [[nodiscard]] const std::array<float, 256>& values() const { return values_; }

  /// Nearest number to `x`, |x| <= 1; the lower of two equally near. With signs, a number that is not zero keeps its
  /// sign even where zero is nearer (and -0 counts as negative), as in bitsandbytes' kernel.
  [[nodiscard]] std::uint8_t slow_code(float x) const;

  /// numbers[i] = values()[codes[i]] * scale.
  void decode(const std::uint8_t* codes, std::size_t count, float scale, float* numbers) const;
  /// codes[i] = slow_code(numbers[i] / scale); any code where that is not within [-1, 1].
  void encode(const float* numbers, std::size_t count, float scale, std::uint8_t* codes) const;
  /// The same by a division for each, for the few numbers that a shorter way leaves over.
  void encode_exactly(const float* numbers, std::size_t count, float scale, std::uint8_t* codes) const;

  /// What `encode_exactly` looks up. The rank of a number is how many steps its code is away from zero's. In a
  /// decade it grows in a straight line, and more slowly in each: the least of all lines, cut off, is the rank or one
  /// below. Whether it is one below is a comparison with one border.
  struct Ranks {
    std::array<float, kDecades> slopes, offsets;
    /// The last magnitude that has the rank; of negative numbers 128 places on.
    std::array<float, 256> borders;
    int code_of_zero;
  };

  /// The rank with its fraction, as values of the two lines that there may be in a cell: below and above its edge. A
  /// cell is a factor of four; the magnitude with `kLeast` added has its number, from 0 to 15, in bits 24 to 27. The
  /// value is a float with the fraction in its lowest 16 bits (without signs 15) and the rank above, four units too
  /// large, so that what is near a whole rank ends in nought to seven. Of it the integer part is the rank but for two:
  /// at the first rank of a decade the border is at 0.2, and the last of all begins at 0.75 of the one before.
  struct Lines {
    static constexpr float kLeast = 0x1p-31F;
    std::array<float, 16> edges;
    std::array<std::array<float, 16>, 2> slopes, offsets;
  };

  // For loops that are written for one instruction set.
  /// Tables byte by byte, for lookups in registers: of all floats the first bytes, then the second ...
  using Planes = std::array<std::uint8_t, 4 * 256>;
  [[nodiscard]] bool with_sign() const { return with_sign_; }
  [[nodiscard]] const Lines& lines() const { return lines_; }
  [[nodiscard]] const Planes& value_planes() const { return value_planes_; }

 private:
  void fill_values();
  void fill_ranks();
  void fill_lines();
  [[nodiscard]] double intervals(std::size_t decade) const;
  [[nodiscard]] float last_of_rank(int rank, bool negative) const;
  static Planes planes_of(const std::array<float, 256>& floats);

  bool with_sign_;
  std::array<float, 256> values_{};
  Ranks ranks_{};
  Lines lines_{};
  alignas(64) Planes value_planes_{};
};

/// With signs: for first moments.
const DynamicMap& signed_dynamic_map();
/// For second moments.
const DynamicMap& unsigned_dynamic_map();

}  // namespace sluice
