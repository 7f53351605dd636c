#include "base/dynamic_map_wide.h"

// Some compilers' own headers leave a register unset on purpose and then warn of it.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

namespace sluice {
namespace {

template <bool kSigned>
[[gnu::target("avx512dq,avx512vbmi")]] void encode_by_lines(const DynamicMap& map, const float* numbers,
                                                            std::size_t count, float scale, std::uint8_t* codes) {
  const WideEncoder<kSigned> encoder(map.lines());
  const __m512 over_scale = _mm512_set1_ps(1.0F / scale);
  for (std::size_t i = 0; i < count; i += kWideRun) {
    typename WideEncoder<kSigned>::Run run;
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) encoder.add(run, k, _mm512_loadu_ps(numbers + i + 16 * k), over_scale);
    finish_run<kSigned>(run, map, numbers + i, scale, codes + i);
  }
}

}  // namespace

[[gnu::target("avx512dq,avx512vbmi")]] void decode_wide(const DynamicMap& map, const std::uint8_t* codes,
                                                        std::size_t count, float scale, float* numbers) {
  const WideTable values(map.value_planes());
  for (std::size_t i = 0; i < count; i += kWideRun) {
    const WideFloats run = decode_run(values, codes + i, _mm512_set1_ps(scale));
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) _mm512_storeu_ps(numbers + i + 16 * k, run[k]);
  }
}

void encode_wide(const DynamicMap& map, const float* numbers, std::size_t count, float scale, std::uint8_t* codes) {
  if (!has_reciprocal(scale)) return map.encode_exactly(numbers, count, scale, codes);
  map.with_sign() ? encode_by_lines<true>(map, numbers, count, scale, codes)
                  : encode_by_lines<false>(map, numbers, count, scale, codes);
}

}  // namespace sluice
