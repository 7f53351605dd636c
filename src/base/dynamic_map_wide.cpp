#include "base/dynamic_map_wide.h"

#include <immintrin.h>

// Some compilers' own headers leave a register unset on purpose and then warn of it.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

namespace sluice {
namespace {

/// Sixty-four elements as four vectors of sixteen.
struct Four {
  __m512i vectors[4];
  __m512i& operator[](int k) { return vectors[k]; }
  const __m512i& operator[](int k) const { return vectors[k]; }
};

struct Table {
  __m512i planes[4][4];

  [[gnu::target("avx512vbmi"), gnu::always_inline]] explicit Table(const std::uint8_t* bytes) {
    for (int plane = 0; plane < 4; ++plane) {
      for (int part = 0; part < 4; ++part) planes[plane][part] = _mm512_loadu_si512(bytes + 256 * plane + 64 * part);
    }
  }

  /// Floats of indices that stand crosswise: elements 0-3, 16-19, 32-35, 48-51, 4-7 ..., as packing leaves them.
  [[gnu::target("avx512vbmi"), gnu::always_inline]] Four at(__m512i places) const {
    __m512i bytes[4];
    for (int plane = 0; plane < 4; ++plane) {
      const __m512i low = _mm512_permutex2var_epi8(planes[plane][0], places, planes[plane][1]);
      const __m512i high = _mm512_permutex2var_epi8(planes[plane][2], places, planes[plane][3]);
      bytes[plane] = _mm512_mask_blend_epi8(_mm512_movepi8_mask(places), low, high);
    }
    const __m512i low01 = _mm512_unpacklo_epi8(bytes[0], bytes[1]), low23 = _mm512_unpacklo_epi8(bytes[2], bytes[3]);
    const __m512i high01 = _mm512_unpackhi_epi8(bytes[0], bytes[1]), high23 = _mm512_unpackhi_epi8(bytes[2], bytes[3]);
    return {{_mm512_unpacklo_epi16(low01, low23), _mm512_unpackhi_epi16(low01, low23),
             _mm512_unpacklo_epi16(high01, high23), _mm512_unpackhi_epi16(high01, high23)}};
  }
};

/// Between the order of elements and the one in which they stand crosswise; its own inverse.
[[gnu::target("avx512vbmi"), gnu::always_inline]] inline __m512i crossed(__m512i bytes) {
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), bytes);
}

/// The low bytes of numbers below 256, crosswise.
[[gnu::target("avx512vbmi"), gnu::always_inline]] inline __m512i packed(const Four& numbers) {
  return _mm512_packus_epi16(_mm512_packus_epi32(numbers[0], numbers[1]), _mm512_packus_epi32(numbers[2], numbers[3]));
}

}  // namespace

[[gnu::target("avx512vbmi")]] void decode_wide(const std::uint8_t* planes, const std::uint8_t* codes, std::size_t count,
                                               float scale, float* numbers) {
  const Table table(planes);
  const __m512 factor = _mm512_set1_ps(scale);
  for (std::size_t i = 0; i < count; i += kWideRun) {
    const Four values = table.at(crossed(_mm512_loadu_si512(codes + i)));
    for (int k = 0; k < 4; ++k)
      _mm512_storeu_ps(numbers + i + 16 * k, _mm512_mul_ps(_mm512_castsi512_ps(values[k]), factor));
  }
}

[[gnu::target("avx512vbmi")]] void encode_wide(const DynamicMap::Ranks& ranks, const std::uint8_t* planes,
                                               bool with_sign, std::span<const float> numbers, float scale,
                                               std::uint8_t* codes) {
  const Table borders(planes);
  const __m512 divisor = _mm512_set1_ps(scale);
  const __m512i sign_place = _mm512_set1_epi32(with_sign ? 128 : 0), one = _mm512_set1_epi32(1);
  const __m512i zero_code = _mm512_set1_epi8(static_cast<char>(ranks.code_of_zero));
  for (std::size_t i = 0; i < numbers.size(); i += kWideRun) {
    Four rank, place;
    __m512 magnitude[4];
    for (int k = 0; k < 4; ++k) {
      const __m512 x = _mm512_div_ps(_mm512_loadu_ps(numbers.data() + i + 16 * k), divisor);
      magnitude[k] = _mm512_abs_ps(x);
      __m512 least = _mm512_set1_ps(255);
      for (std::size_t d = 0; d < DynamicMap::kDecades; ++d) {
        const __m512 line =
            _mm512_fmadd_ps(magnitude[k], _mm512_set1_ps(ranks.slopes[d]), _mm512_set1_ps(ranks.offsets[d]));
        least = _mm512_min_ps(line, least);  // NaN is not
      }
      rank[k] = _mm512_cvttps_epi32(least);
      const __m512i sign = _mm512_and_si512(_mm512_srli_epi32(_mm512_castps_si512(x), 24), sign_place);
      place[k] = _mm512_or_si512(rank[k], sign);
    }
    const __m512i places = packed(place);
    const Four border = borders.at(places);
    for (int k = 0; k < 4; ++k) {
      const __mmask16 above = _mm512_cmp_ps_mask(magnitude[k], _mm512_castsi512_ps(border[k]), _CMP_GT_OQ);
      rank[k] = _mm512_mask_add_epi32(rank[k], above, rank[k], one);
    }
    const __m512i steps = packed(rank);
    const __mmask64 negative = with_sign ? _mm512_movepi8_mask(places) : 0;
    const __m512i code = _mm512_mask_sub_epi8(_mm512_add_epi8(zero_code, steps), negative, zero_code, steps);
    _mm512_storeu_si512(codes + i, crossed(code));
  }
}

}  // namespace sluice
