// The dynamic map's loops where a processor looks up bytes in its registers (AVX-512 VBMI), sixty-four elements at a
// time; to be inlined where states are updated. Private to the map and to rules with 8-bit states.
//
// To numbers: a table of 256 floats is four tables of bytes, sixty-four lookups in three instructions each.
// To codes: the rank (DynamicMap::Ranks) is the integer part of a broken line, which in fp32 is exact to a 2^-14 of a
// rank; a number nearer to a border than that, one in thousands, is divided and compared (docs/design/008).
#pragma once
#include <immintrin.h>

#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/dynamic_map.h"

namespace sluice {

/// Elements that the loops take at a time: every count is a multiple of it.
inline constexpr std::size_t kWideRun = 64;

/// DynamicMap::decode.
void decode_wide(const DynamicMap& map, const std::uint8_t* codes, std::size_t count, float scale, float* numbers);
/// DynamicMap::encode.
void encode_wide(const DynamicMap& map, const float* numbers, std::size_t count, float scale, std::uint8_t* codes);

/// Whether one over the scale is a number of full precision, and what it multiplies too.
inline bool has_reciprocal(float scale) { return scale >= 0x1p-100F && scale <= 0x1p100F; }

/// Sixty-four elements as four vectors of sixteen.
struct WideWords {
  __m512i vectors[4];
  __m512i& operator[](int k) { return vectors[k]; }
  const __m512i& operator[](int k) const { return vectors[k]; }
};

struct WideFloats {
  __m512 vectors[4];
  __m512& operator[](int k) { return vectors[k]; }
  const __m512& operator[](int k) const { return vectors[k]; }
};

/// 256 floats as planes of bytes.
struct WideTable {
  __m512i planes[4][4];

  [[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] explicit WideTable(const DynamicMap::Planes& bytes) {
#pragma GCC unroll 4
    for (int plane = 0; plane < 4; ++plane) {
#pragma GCC unroll 4
      for (int part = 0; part < 4; ++part)
        planes[plane][part] = _mm512_loadu_si512(bytes.data() + 256 * plane + 64 * part);
    }
  }

  /// Floats of indices that stand crosswise: elements 0-3, 16-19, 32-35, 48-51, 4-7 ..., as packing leaves them.
  [[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] WideWords at(__m512i places) const {
    __m512i bytes[4];
    const __mmask64 upper = _mm512_movepi8_mask(places);
#pragma GCC unroll 4
    for (int plane = 0; plane < 4; ++plane) {
      const __m512i low = _mm512_permutex2var_epi8(planes[plane][0], places, planes[plane][1]);
      const __m512i high = _mm512_permutex2var_epi8(planes[plane][2], places, planes[plane][3]);
      bytes[plane] = _mm512_mask_blend_epi8(upper, low, high);
    }
    const __m512i low01 = _mm512_unpacklo_epi8(bytes[0], bytes[1]), low23 = _mm512_unpacklo_epi8(bytes[2], bytes[3]);
    const __m512i high01 = _mm512_unpackhi_epi8(bytes[0], bytes[1]), high23 = _mm512_unpackhi_epi8(bytes[2], bytes[3]);
    return {{_mm512_unpacklo_epi16(low01, low23), _mm512_unpackhi_epi16(low01, low23),
             _mm512_unpacklo_epi16(high01, high23), _mm512_unpackhi_epi16(high01, high23)}};
  }
};

/// Between the order of elements and the one in which they stand crosswise; its own inverse.
[[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] inline __m512i crossed(__m512i bytes) {
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), bytes);
}

/// Numbers of sixty-four codes.
[[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] inline WideFloats decode_run(const WideTable& values,
                                                                                        const std::uint8_t* codes,
                                                                                        __m512 scale) {
  const WideWords words = values.at(crossed(_mm512_loadu_si512(codes)));
  WideFloats numbers;
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) numbers[k] = _mm512_mul_ps(_mm512_castsi512_ps(words[k]), scale);
  return numbers;
}

/// The broken line and what reads ranks off it.
template <bool kSigned>
class WideEncoder {
 public:
  [[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] explicit WideEncoder(const DynamicMap::Lines& lines)
      : edges_(_mm512_loadu_ps(lines.edges.data())) {
#pragma GCC unroll 4
    for (int end = 0; end < 2; ++end) {
      slopes_[end] = _mm512_loadu_ps(lines.slopes[end].data());
      offsets_[end] = _mm512_loadu_ps(lines.offsets[end].data());
    }
  }

  /// Sixty-four numbers on their way: four vectors of sums, and of all four which are not near a whole rank.
  struct Run {
    WideWords sums;
    __mmask16 signs[4];
    __mmask16 certain = 0xffff;
  };

  /// The first half of the way, for vector k.
  [[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] void add(Run& run, int k, __m512 numbers,
                                                                      __m512 over_scale) const {
    run.signs[k] = kSigned ? _mm512_movepi32_mask(_mm512_castps_si512(numbers)) : __mmask16{0};
    run.sums[k] = line(kSigned ? _mm512_abs_ps(numbers) : numbers, over_scale);
    run.certain = _mm512_mask_test_epi32_mask(run.certain, run.sums[k], _mm512_set1_epi32(kFraction & ~7));
  }

  /// The second: codes of all numbers but those that it returns, which are, or may be, too near a border to tell.
  [[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] static __mmask64 finish(const Run& run,
                                                                                     std::uint8_t* codes) {
    const __mmask64 negative =
        _mm512_kunpackd(_mm512_kunpackw(run.signs[3], run.signs[2]), _mm512_kunpackw(run.signs[1], run.signs[0]));
    const Bytes bytes = kSigned ? bytes_of_signed(run.sums) : bytes_of_unsigned(run.sums);
    const __m512i one = _mm512_set1_epi8(1);
    // At the first rank of a decade the border is a fifth above the line's, at the last of all a quarter below.
    const __m512i fifth = _mm512_set1_epi8(kSigned ? 51 : 50), quarter = _mm512_set1_epi8(static_cast<char>(192));
    const __m512i beside = kSigned ? _mm512_sub_epi8(bytes.ranks, one) : _mm512_add_epi8(bytes.ranks, one);
    const __mmask64 first = _mm512_testn_epi8_mask(bytes.ranks, beside);
    const __mmask64 last =
        _mm512_mask_cmpeq_epi8_mask(~negative, bytes.ranks, _mm512_set1_epi8(static_cast<char>(kSigned ? 127 : 254)));
    const __mmask64 less = _mm512_mask_cmplt_epu8_mask(first, bytes.fractions, fifth);
    const __mmask64 more = _mm512_mask_cmpgt_epu8_mask(last, bytes.fractions, quarter);
    const __mmask64 unsure = _mm512_mask_cmpeq_epi8_mask(first, bytes.fractions, fifth) |
                             _mm512_mask_cmpeq_epi8_mask(last, bytes.fractions, quarter);
    __m512i ranks = _mm512_mask_sub_epi8(bytes.ranks, less, bytes.ranks, one);
    ranks = _mm512_mask_add_epi8(ranks, more, ranks, one);
    if constexpr (kSigned) {
      const __m512i zero = _mm512_set1_epi8(127);
      ranks = _mm512_mask_max_epu8(ranks, negative, ranks, one);
      ranks = _mm512_mask_sub_epi8(_mm512_add_epi8(zero, ranks), negative, zero, ranks);
    }
    _mm512_storeu_si512(codes, ranks);
    return unsure | (run.certain ^ 0xffffU) * 0x0001000100010001U;
  }

 private:
  static constexpr int kFraction = kSigned ? 0xffff : 0x7fff;  // bits of a sum below its rank

  struct Bytes {
    __m512i ranks, fractions;  // in the order of the elements; of a fraction the upper eight bits, or seven and a 0
  };

  /// The float whose lower bits are rank and fraction: of the line that there is on a number's side of its cell's edge.
  [[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] __m512i line(__m512 magnitude, __m512 over_scale) const {
    const __m512 x = _mm512_fmadd_ps(magnitude, over_scale, _mm512_set1_ps(DynamicMap::Lines::kLeast));
    const __m512i cell = _mm512_srli_epi32(_mm512_castps_si512(x), 24);  // four bits and a fifth, which is set
    const __mmask16 above = _mm512_cmp_ps_mask(x, _mm512_permutexvar_ps(cell, edges_), _CMP_GT_OQ);
    const __m512i place = _mm512_mask_sub_epi32(cell, above, cell, _mm512_set1_epi32(16));
    return _mm512_castps_si512(_mm512_fmadd_ps(x, _mm512_permutex2var_ps(slopes_[1], place, slopes_[0]),
                                               _mm512_permutex2var_ps(offsets_[1], place, offsets_[0])));
  }

  // Ranks are the third bytes of words, fractions the second ones.
  [[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] static Bytes bytes_of_signed(const WideWords& sum) {
    const __m512i both = _mm512_loadu_si512(kThirdAndSecond.data());
    const __m512i front = _mm512_permutex2var_epi8(sum[0], both, sum[1]);
    const __m512i back = _mm512_permutex2var_epi8(sum[2], both, sum[3]);
    return {_mm512_shuffle_i64x2(front, back, 0x44), _mm512_shuffle_i64x2(front, back, 0xee)};
  }

  // One bit lower than that.
  [[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] static Bytes bytes_of_unsigned(const WideWords& sum) {
    const __m512i middle = _mm512_loadu_si512(kMiddle.data()), even = _mm512_loadu_si512(kEven.data());
    const __m512i front = _mm512_slli_epi16(_mm512_permutex2var_epi8(sum[0], middle, sum[1]), 1);
    const __m512i back = _mm512_slli_epi16(_mm512_permutex2var_epi8(sum[2], middle, sum[3]), 1);
    return {_mm512_permutex2var_epi8(front, _mm512_add_epi8(even, _mm512_set1_epi8(1)), back),
            _mm512_permutex2var_epi8(front, even, back)};
  }

  using Order = std::array<std::uint8_t, kWideRun>;
  static constexpr Order kThirdAndSecond = [] {
    Order order{};
    for (int i = 0; i < 32; ++i) {
      order[i] = static_cast<std::uint8_t>(4 * i + 2);
      order[32 + i] = static_cast<std::uint8_t>(4 * i + 1);
    }
    return order;
  }();
  static constexpr Order kMiddle = [] {
    Order order{};
    for (int i = 0; i < 64; ++i) order[i] = static_cast<std::uint8_t>(i / 2 * 4 + 1 + i % 2);
    return order;
  }();
  static constexpr Order kEven = [] {
    Order order{};
    for (int i = 0; i < 64; ++i) order[i] = static_cast<std::uint8_t>(2 * i);
    return order;
  }();

  __m512 edges_, slopes_[2], offsets_[2];
};

/// WideEncoder::finish, and the numbers that it leaves over, one by one.
template <bool kSigned>
[[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] inline void finish_run(
    const typename WideEncoder<kSigned>::Run& run, const DynamicMap& map, const float* numbers, float scale,
    std::uint8_t* codes) {
  for (__mmask64 left = WideEncoder<kSigned>::finish(run, codes); left != 0; left &= left - 1) {
    const int i = std::countr_zero(static_cast<std::uint64_t>(left));
    map.encode_exactly(numbers + i, 1, scale, codes + i);
  }
}

}  // namespace sluice
