// The arithmetic of AdamW with 8-bit moments, and where it runs on whole blocks of sixty-four elements at a time.
// Private to the rule.
#pragma once
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace sluice::optim::adamw_8bit {

struct Constants {
  float gradient_scale, beta1, beta2, one_minus_beta1, one_minus_beta2, corrected_eps, step_size, decay;
};

struct Element {
  float parameter, exp_avg, exp_avg_sq;
};

[[gnu::always_inline]] inline Element next(const Element& old, float gradient, const Constants& c) {
  const float g = gradient * c.gradient_scale;
  const float m = old.exp_avg * c.beta1 + c.one_minus_beta1 * g;
  const float v = old.exp_avg_sq * c.beta2 + c.one_minus_beta2 * g * g;
  const float p = (old.parameter + c.step_size * (m / (std::sqrt(v) + c.corrected_eps))) * c.decay;
  const bool finite = (std::bit_cast<std::uint32_t>(g) & 0x7f800000U) != 0x7f800000U;
  return {finite ? p : old.parameter, finite ? m : old.exp_avg, finite ? v : old.exp_avg_sq};
}

/// Moments in fp32.
struct Loop {
  float* parameter_data;
  const float* gradient_data;
  float* exp_avg_data;
  float* exp_avg_sq_data;
  Constants constants;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* __restrict const parameter = parameter_data;
    const float* __restrict const gradient = gradient_data;
    float* __restrict const exp_avg = exp_avg_data;
    float* __restrict const exp_avg_sq = exp_avg_sq_data;
    const Constants c = constants;
    for (std::size_t i = 0; i < count; ++i) {
      const Element e = next({parameter[i], exp_avg[i], exp_avg_sq[i]}, gradient[i], c);
      parameter[i] = e.parameter;
      exp_avg[i] = e.exp_avg;
      exp_avg_sq[i] = e.exp_avg_sq;
    }
  }
};

/// A moment's codes, and a scale for every kBlock of them.
struct Codes {
  std::uint8_t* codes;
  float* scales;
};

struct Blocks {
  float* parameter;
  const float* gradient;
  Codes exp_avg, exp_avg_sq;
  Constants constants;
};

/// Where processors look up bytes in registers (Isa::Avx512Vbmi): whole blocks.
void update_wide(const Blocks& blocks, std::size_t num_blocks);

}  // namespace sluice::optim::adamw_8bit
