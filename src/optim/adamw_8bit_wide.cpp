// A block's new codes depend on the largest of its new moments, so each block is gone through twice: widened and moved
// on, then narrowed. Both halves of the work take turns every sixty-four elements, one block apart: the first waits for
// the square root and the division, the second looks up.
#include <algorithm>
#include <bit>

#include "base/dynamic_map_wide.h"
#include "optim/adamw_8bit_loop.h"
#include "optim/state_spec.h"

#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

namespace sluice::optim::adamw_8bit {
namespace {

constexpr std::size_t kRunsPerBlock = kBlock / kWideRun;
// So many elements before they are needed: a run is longer than the window in which a processor sees loads coming.
constexpr std::size_t kAhead = 2 * kBlock;

[[gnu::always_inline]] inline void prefetch(const float* run) {
#pragma GCC unroll 4
  for (int line = 0; line < 4; ++line) __builtin_prefetch(run + 16 * line, 0, 3);
}

/// One moment: a block that is being widened, and the one before that is being narrowed.
template <bool kSigned>
class Moment {
 public:
  [[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] Moment(const DynamicMap& map, const Codes& codes)
      : map_(map), values_(map.value_planes()), encoder_(map.lines()), codes_(codes), most_(_mm512_setzero_si512()) {}

  [[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] WideFloats widen(std::size_t block,
                                                                              std::size_t run) const {
    return decode_run(values_, codes_of(block, run), _mm512_set1_ps(codes_.scales[block]));
  }

  /// Takes in what a run has become, and looks for the largest magnitude: magnitudes are ordered as their bits are.
  [[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] void keep(std::size_t block, std::size_t run,
                                                                       const WideFloats& numbers) {
    __m512i most = most_;
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      _mm512_store_ps(numbers_of(block, run) + 16 * k, numbers[k]);
      const __m512i bits = _mm512_castps_si512(numbers[k]);
      most = _mm512_max_epu32(most, kSigned ? _mm512_and_si512(bits, _mm512_set1_epi32(kMagnitude)) : bits);
    }
    most_ = most;
  }

  /// All of the block has been kept: its scale.
  [[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] void conclude(std::size_t block) {
    const auto scale = std::bit_cast<float>(_mm512_reduce_max_epu32(most_) & kMagnitude);
    most_ = _mm512_setzero_si512();
    codes_.scales[block] = scale;
    divisor_ = scale > 0 ? scale : 1.0F;
    over_scale_ = 1.0F / divisor_;
    has_reciprocal_ = has_reciprocal(divisor_);
  }

  /// Narrows a run of a block that was concluded: vector by vector, then all of it.
  [[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] void narrow(std::size_t block, std::size_t run, int k) {
    if (k == 0) narrowed_.certain = 0xffff;
    encoder_.add(narrowed_, k, _mm512_load_ps(numbers_of(block, run) + 16 * k), _mm512_set1_ps(over_scale_));
  }
  [[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] void store(std::size_t block, std::size_t run) {
    if (has_reciprocal_) [[likely]] {
      finish_run<kSigned>(narrowed_, map_, numbers_of(block, run), divisor_, codes_of(block, run));
    } else {
      map_.encode_exactly(numbers_of(block, run), kWideRun, divisor_, codes_of(block, run));
    }
  }

 private:
  static constexpr std::uint32_t kMagnitude = 0x7fffffff;

  [[nodiscard]] std::uint8_t* codes_of(std::size_t block, std::size_t run) const {
    return codes_.codes + block * kBlock + run * kWideRun;
  }
  float* numbers_of(std::size_t block, std::size_t run) { return numbers_[block % 2] + run * kWideRun; }

  const DynamicMap& map_;
  const WideTable values_;
  const WideEncoder<kSigned> encoder_;
  const Codes codes_;
  alignas(64) float numbers_[2][kBlock];
  typename WideEncoder<kSigned>::Run narrowed_;
  __m512i most_;
  float divisor_ = 1, over_scale_ = 1;
  bool has_reciprocal_ = true;
};

/// The arithmetic of `next`, sixteen elements at a time.
[[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] inline void step(float* parameter, const float* gradient,
                                                                            __m512& exp_avg, __m512& exp_avg_sq,
                                                                            const Constants& c) {
  constexpr int kNotFinite = 0x99;  // both kinds of NaN, both infinities
  const __m512 g = _mm512_loadu_ps(gradient) * _mm512_set1_ps(c.gradient_scale);
  const __mmask16 finite = _knot_mask16(_mm512_fpclass_ps_mask(g, kNotFinite));
  const __m512 m = exp_avg * _mm512_set1_ps(c.beta1) + _mm512_set1_ps(c.one_minus_beta1) * g;
  const __m512 v = exp_avg_sq * _mm512_set1_ps(c.beta2) + _mm512_set1_ps(c.one_minus_beta2) * g * g;
  const __m512 quotient = m / (_mm512_sqrt_ps(v) + _mm512_set1_ps(c.corrected_eps));
  const __m512 old = _mm512_loadu_ps(parameter);
  const __m512 p = (old + _mm512_set1_ps(c.step_size) * quotient) * _mm512_set1_ps(c.decay);
  _mm512_storeu_ps(parameter, _mm512_mask_mov_ps(old, finite, p));
  exp_avg = _mm512_mask_mov_ps(exp_avg, finite, m);
  exp_avg_sq = _mm512_mask_mov_ps(exp_avg_sq, finite, v);
}

/// All of it. Instructions of both halves stand in turns, as many as a processor sees at once.
struct Update {
  const Blocks blocks;
  const Constants constants;
  Moment<true> exp_avg;
  Moment<false> exp_avg_sq;

  [[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] explicit Update(const Blocks& all)
      : blocks(all),
        constants(all.constants),
        exp_avg(signed_dynamic_map(), all.exp_avg),
        exp_avg_sq(unsigned_dynamic_map(), all.exp_avg_sq) {}

  /// Moves a block on, and narrows the one before.
  template <bool kMoves, bool kNarrows>
  [[gnu::target("avx512dq,avx512vbmi"), gnu::always_inline]] void go(std::size_t block) {
    for (std::size_t run = 0; run < kRunsPerBlock; ++run) {
      float* const parameter = blocks.parameter + block * kBlock + run * kWideRun;
      const float* const gradient = blocks.gradient + block * kBlock + run * kWideRun;
      WideFloats m, v;
      if constexpr (kMoves) {
        prefetch(parameter + kAhead);
        prefetch(gradient + kAhead);
        m = exp_avg.widen(block, run);
        v = exp_avg_sq.widen(block, run);
      }
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        if constexpr (kMoves) step(parameter + 16 * k, gradient + 16 * k, m[k], v[k], constants);
        if constexpr (kNarrows) {
          exp_avg.narrow(block - 1, run, k);
          exp_avg_sq.narrow(block - 1, run, k);
        }
      }
      if constexpr (kMoves) {
        exp_avg.keep(block, run, m);
        exp_avg_sq.keep(block, run, v);
      }
      if constexpr (kNarrows) {
        exp_avg.store(block - 1, run);
        exp_avg_sq.store(block - 1, run);
      }
    }
    if constexpr (kMoves) {
      exp_avg.conclude(block);
      exp_avg_sq.conclude(block);
    }
  }
};

}  // namespace

[[gnu::target("avx512dq,avx512vbmi")]] void update_wide(const Blocks& blocks, std::size_t num_blocks) {
  if (num_blocks == 0) return;
  Update update(blocks);
  update.go<true, false>(0);
  for (std::size_t block = 1; block < num_blocks; ++block) update.go<true, true>(block);
  update.go<false, true>(num_blocks);
}

}  // namespace sluice::optim::adamw_8bit
