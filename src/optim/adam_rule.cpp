#include "optim/adam_rule.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "base/check.h"
#include "base/isa.h"
#include "optim/constant_divisor.h"
#include "optim/coupled_decay.h"
#include "optim/narrow.h"

namespace sluice::optim {
namespace {

struct Constants {
  float gradient_scale, coupled_decay, decay, beta2, one_minus_beta1, one_minus_beta2, eps, minus_step_size;
  ConstantDivisor root_correction2;
};

template <typename Words>
struct AdamLoop {
  using Word = typename Words::Word;
  float* parameter_data;
  const float* gradient_data;
  Word* exp_avg_data;
  Word* exp_avg_sq_data;
  Constants constants;
  std::uint64_t stream, first_block;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    const std::size_t run = std::is_same_v<Word, float> ? count : kBlock;  // noise is by block
    for (std::size_t first = 0; first < count; first += run) some(first, std::min(run, count - first));
  }

  [[gnu::always_inline]] void some(std::size_t first, std::size_t count) const {
    float* __restrict const parameter = parameter_data + first;
    const float* __restrict const gradient = gradient_data + first;
    Word* __restrict const exp_avg = exp_avg_data + first;
    Word* __restrict const exp_avg_sq = exp_avg_sq_data + first;
    const Constants c = constants;
    const BlockNoise noise(stream, first_block + first / kBlock);
    // torch's lerp: from the nearer end
    const bool small_weight = c.one_minus_beta1 < 0.5F;
    const float lerp = small_weight ? c.one_minus_beta1 : c.one_minus_beta1 - 1.0F;
    for (std::size_t i = 0; i < count; ++i) {
      const float p = parameter[i];
      const float g = coupled_decay(gradient[i] * c.gradient_scale, p, c.coupled_decay);
      const float m_old = Words::widen(exp_avg[i]);
      const float m = std::fma(lerp, g - m_old, small_weight ? m_old : g);
      const float v = std::fma(c.one_minus_beta2 * g, g, Words::widen(exp_avg_sq[i]) * c.beta2);
      const float denominator = corrected(std::sqrt(v), c.root_correction2) + c.eps;
      const std::uint32_t bits = noise(i);
      exp_avg[i] = Words::narrow(m, bits);
      exp_avg_sq[i] = Words::narrow(v, bits >> 16);
      parameter[i] = p * c.decay + c.minus_step_size * m / denominator;
    }
  }

  // With moments in bf16 a loop waits for multiplications, and the divider has time.
  [[gnu::always_inline]] static float corrected(float root, const ConstantDivisor& correction) {
    return std::is_same_v<Word, float> ? correction.quotient(root) : root / correction.divisor();
  }
};

}  // namespace

AdamRule::AdamRule(AdamDecay decay, const OptionValues& values, const RuleOptions& options)
    : decay_(decay),
      beta1_(values["beta1"]),
      beta2_(values["beta2"]),
      eps_(values["eps"]),
      corrects_(values["bias_correction"] != 0),
      options_(options),
      states_{{{"exp_avg", Extent::Elements, options.moments}, {"exp_avg_sq", Extent::Elements, options.moments}}} {}

std::optional<DeviceForm> AdamRule::device_form() const noexcept {
  if (!corrects_ || options_.moments != StateFormat::Fp32) return {};
  const auto kind = decay_ == AdamDecay::Coupled ? DeviceForm::Kind::Adam : DeviceForm::Kind::AdamW;
  return DeviceForm{.kind = kind, .beta1 = beta1_, .beta2 = beta2_, .eps = eps_};
}

void AdamRule::update(const Part& part, const UpdateArgs& args) const {
  SLUICE_CHECK(part.parameter.size() == part.gradient.size() && part.states.size() == states_.size() && args.step >= 1);
  const auto step = static_cast<double>(args.step);
  const double beta1 = args.beta1.value_or(beta1_), beta2 = args.beta2.value_or(beta2_);
  const double correction1 = corrects_ ? 1 - std::pow(beta1, step) : 1;
  const double correction2 = corrects_ ? 1 - std::pow(beta2, step) : 1;
  const bool coupled = decay_ == AdamDecay::Coupled;
  const Constants constants{.gradient_scale = args.gradient_scale,
                            .coupled_decay = static_cast<float>(coupled ? args.weight_decay : 0),
                            .decay = static_cast<float>(coupled ? 1 : 1 - args.lr * args.weight_decay),
                            .beta2 = static_cast<float>(beta2),
                            .one_minus_beta1 = static_cast<float>(1 - beta1),
                            .one_minus_beta2 = static_cast<float>(1 - beta2),
                            .eps = static_cast<float>(eps_),
                            .minus_step_size = static_cast<float>(-(args.lr / correction1)),
                            .root_correction2 = ConstantDivisor(static_cast<float>(std::sqrt(correction2)))};
  with_words(options_, [&]<typename Words>() {
    using Word = typename Words::Word;
    const AdamLoop<Words> loop{.parameter_data = part.parameter.data(),
                               .gradient_data = part.gradient.data(),
                               .exp_avg_data = static_cast<Word*>(part.states[0].elements),
                               .exp_avg_sq_data = static_cast<Word*>(part.states[1].elements),
                               .constants = constants,
                               .stream = noise_stream(args),
                               .first_block = static_cast<std::uint64_t>(part.first_in_model / kBlock)};
    run_widest(loop, part.parameter.size());
  });
}

}  // namespace sluice::optim
