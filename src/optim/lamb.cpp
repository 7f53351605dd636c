// LAMB (arXiv 1904.00962) as NVIDIA's apex computes it: bias corrections on the moments, decay inside the step, no
// bounds on the ratio |p| / |step|; a tensor without weight decay (a norm, a bias) takes ratio 1. DeepSpeed's has
// bounds and adapts every tensor (`min_coeff`, `max_coeff`, `use_nvlamb`). The measuring pass moves the moments on and
// leaves Adam's step in the gradient's place; the second adds decay and applies it: 40 bytes per element in place of
// the 56 of two readings of everything.
#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "base/isa.h"
#include "optim/adam_rule.h"
#include "optim/block_sum.h"
#include "optim/factories.h"
#include "optim/narrow.h"

namespace sluice::optim {
namespace {

constexpr OptionSpec kOptions[] = {{"beta1", 0.9, 0, 1},
                                   {"beta2", 0.999, 0, 1},
                                   {"eps", 1e-6},
                                   kBiasCorrection,
                                   {"min_coeff"},
                                   {"max_coeff", kNotGiven},
                                   {.name = "use_nvlamb", .choices = kSwitch}};

struct Constants {
  float gradient_scale, beta1, beta2, one_minus_beta1, one_minus_beta2, over_correction1, over_correction2, eps,
      weight_decay;
};

struct Element {
  float exp_avg, exp_avg_sq, step;  // the step without decay
};

[[gnu::always_inline]] inline Element next(float gradient, float exp_avg, float exp_avg_sq, const Constants& c) {
  const float g = gradient * c.gradient_scale;
  const float m = std::fma(c.one_minus_beta1, g, exp_avg * c.beta1);
  const float v = std::fma(c.one_minus_beta2 * g, g, exp_avg_sq * c.beta2);
  return {m, v, m * c.over_correction1 / (std::sqrt(v * c.over_correction2) + c.eps)};
}

template <typename Words>
struct AdvanceLoop {
  using Word = typename Words::Word;
  const float* parameter_data;
  float* direction_data;  // the gradient on the way in, Adam's step on the way out
  Word* exp_avg_data;
  Word* exp_avg_sq_data;
  Constants constants;
  std::uint64_t stream, first_block;
  double* sums;  // of squares: parameter, step

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    for (std::size_t first = 0; first < count; first += kBlock)
      block(first, count - first < kBlock ? count - first : kBlock);
  }

  [[gnu::always_inline]] void block(std::size_t first, std::size_t count) const {
    const float* __restrict const parameter = parameter_data + first;
    float* __restrict const direction = direction_data + first;
    Word* __restrict const exp_avg = exp_avg_data + first;
    Word* __restrict const exp_avg_sq = exp_avg_sq_data + first;
    const Constants c = constants;
    const BlockNoise noise(stream, first_block + first / kBlock);
    std::array<float, kBlock> step;
    for (std::size_t i = 0; i < count; ++i) {
      const Element e = next(direction[i], Words::widen(exp_avg[i]), Words::widen(exp_avg_sq[i]), c);
      const std::uint32_t bits = noise(i);
      exp_avg[i] = Words::narrow(e.exp_avg, bits);
      exp_avg_sq[i] = Words::narrow(e.exp_avg_sq, bits >> 16);
      direction[i] = e.step;
      step[i] = std::fma(c.weight_decay, parameter[i], e.step);
    }
    sums[0] += sum_of_squares(parameter, count);
    sums[1] += sum_of_squares(step.data(), count);
  }

  [[gnu::always_inline]] static float sum_of_squares(const float* values, std::size_t count) {
    return block_sum<float>(
        count, [values](std::size_t i) __attribute__((always_inline)) { return values[i] * values[i]; });
  }
};

struct ApplyLoop {
  float* parameter_data;
  const float* direction_data;
  float weight_decay, minus_rate;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* __restrict const parameter = parameter_data;
    const float* __restrict const direction = direction_data;
    const float decay = weight_decay, rate = minus_rate;
    for (std::size_t i = 0; i < count; ++i) {
      const float step = std::fma(decay, parameter[i], direction[i]);
      parameter[i] = std::fma(rate, step, parameter[i]);
    }
  }
};

class LambRule final : public UpdateRule {
 public:
  LambRule(const OptionValues& values, const RuleOptions& options)
      : beta1_(values["beta1"]),
        beta2_(values["beta2"]),
        eps_(values["eps"]),
        min_coeff_(values["min_coeff"]),
        max_coeff_(values.given("max_coeff") ? values["max_coeff"] : kUnlimited),
        corrects_(values["bias_correction"] != 0),
        adapts_all_(values["use_nvlamb"] != 0),
        options_(options),
        states_{{{"exp_avg", Extent::Elements, options.moments}, {"exp_avg_sq", Extent::Elements, options.moments}}} {}

  [[nodiscard]] std::span<const StateSpec> states() const noexcept override { return states_; }
  [[nodiscard]] Measuring measuring() const noexcept override { return {.passes = 1, .scalars = 2, .advanced = 2}; }

  void measure(int /*pass*/, const Part& part, const UpdateArgs& args, const Sums& sums) const override {
    SLUICE_CHECK(part.parameter.size() == part.direction.size() && part.states.size() == 2);
    with_words(options_, [&]<typename Words>() {
      using Word = typename Words::Word;
      run_widest(AdvanceLoop<Words>{.parameter_data = part.parameter.data(),
                                    .direction_data = part.direction.data(),
                                    .exp_avg_data = static_cast<Word*>(part.states[0].elements),
                                    .exp_avg_sq_data = static_cast<Word*>(part.states[1].elements),
                                    .constants = constants(args),
                                    .stream = noise_stream(args),
                                    .first_block = static_cast<std::uint64_t>(part.first_in_model / kBlock),
                                    .sums = sums.scalars.data()},
                 part.parameter.size());
    });
  }

  void update(const Part& part, const UpdateArgs& args) const override {
    SLUICE_CHECK(part.parameter.size() == part.direction.size());
    const double parameter_norm = std::sqrt(part.totals.scalars[0]), step_norm = std::sqrt(part.totals.scalars[1]);
    const bool adapts = (args.weight_decay != 0 || adapts_all_) && parameter_norm != 0 && step_norm != 0;
    double rate = args.lr;
    if (adapts) rate = std::clamp(args.lr * parameter_norm / step_norm, args.lr * min_coeff_, args.lr * max_coeff_);
    run_widest(ApplyLoop{part.parameter.data(), part.direction.data(), static_cast<float>(args.weight_decay),
                         static_cast<float>(-rate)},
               part.parameter.size());
  }

 private:
  [[nodiscard]] Constants constants(const UpdateArgs& args) const {
    const auto step = static_cast<double>(args.step);
    const double beta1 = args.beta1.value_or(beta1_), beta2 = args.beta2.value_or(beta2_);
    const double correction1 = corrects_ ? 1 - std::pow(beta1, step) : 1;
    const double correction2 = corrects_ ? 1 - std::pow(beta2, step) : 1;
    return {.gradient_scale = args.gradient_scale,
            .beta1 = static_cast<float>(beta1),
            .beta2 = static_cast<float>(beta2),
            .one_minus_beta1 = static_cast<float>(1 - beta1),
            .one_minus_beta2 = static_cast<float>(1 - beta2),
            .over_correction1 = static_cast<float>(1 / correction1),
            .over_correction2 = static_cast<float>(1 / correction2),
            .eps = static_cast<float>(eps_),
            .weight_decay = static_cast<float>(args.weight_decay)};
  }

  double beta1_, beta2_, eps_, min_coeff_, max_coeff_;
  bool corrects_, adapts_all_;
  RuleOptions options_;
  std::array<StateSpec, 2> states_;
};

}  // namespace

RuleFactory lamb_factory() { return {.make = construct<LambRule>, .options = kOptions, .bf16_states = true}; }

}  // namespace sluice::optim
