// LAMB (arXiv 1904.00962) as NVIDIA's apex computes it: bias corrections on the moments, decay inside the step, no
// bounds on the ratio |p| / |step|; a tensor without weight decay (a norm, a bias) takes ratio 1. DeepSpeed's has
// bounds and adapts every tensor (`min_coeff`, `max_coeff`, `use_nvlamb`). The measuring pass makes the step and drops
// it; the second makes it again, which costs less than keeping it.
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
  float exp_avg, exp_avg_sq, step;
};

[[gnu::always_inline]] inline Element next(float p, float gradient, float exp_avg, float exp_avg_sq,
                                           const Constants& c) {
  const float g = gradient * c.gradient_scale;
  const float m = std::fma(c.one_minus_beta1, g, exp_avg * c.beta1);
  const float v = std::fma(c.one_minus_beta2 * g, g, exp_avg_sq * c.beta2);
  const float adam = m * c.over_correction1 / (std::sqrt(v * c.over_correction2) + c.eps);
  return {m, v, std::fma(c.weight_decay, p, adam)};
}

template <typename Words>
struct Pointers {
  using Word = typename Words::Word;
  float* parameter;
  const float* gradient;
  Word* exp_avg;
  Word* exp_avg_sq;
};

template <typename Words>
struct MeasureLoop {
  Pointers<Words> data;
  Constants constants;
  double* sums;  // of squares: parameter, step

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    const Pointers<Words> d = data;
    const Constants c = constants;
    std::array<float, kBlock> step;
    for (std::size_t first = 0; first < count; first += kBlock) {
      const std::size_t size = count - first < kBlock ? count - first : kBlock;
      for (std::size_t i = 0; i < size; ++i) {
        const std::size_t at = first + i;
        step[i] =
            next(d.parameter[at], d.gradient[at], Words::widen(d.exp_avg[at]), Words::widen(d.exp_avg_sq[at]), c).step;
      }
      sums[0] += block_sum_of_squares(d.parameter + first, size);
      sums[1] += block_sum_of_squares(step.data(), size);
    }
  }
};

template <typename Words>
struct ApplyLoop {
  using Word = typename Words::Word;
  Pointers<Words> data;
  Constants constants;
  float minus_rate;
  std::uint64_t stream, first_block;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    for (std::size_t first = 0; first < count; first += kBlock)
      block(first, count - first < kBlock ? count - first : kBlock);
  }

  [[gnu::always_inline]] void block(std::size_t first, std::size_t count) const {
    float* __restrict const parameter = data.parameter + first;
    const float* __restrict const gradient = data.gradient + first;
    Word* __restrict const exp_avg = data.exp_avg + first;
    Word* __restrict const exp_avg_sq = data.exp_avg_sq + first;
    const Constants c = constants;
    const BlockNoise noise(stream, first_block + first / kBlock);
    const float rate = minus_rate;
    for (std::size_t i = 0; i < count; ++i) {
      const Element e = next(parameter[i], gradient[i], Words::widen(exp_avg[i]), Words::widen(exp_avg_sq[i]), c);
      const std::uint32_t bits = noise(i);
      exp_avg[i] = Words::narrow(e.exp_avg, bits);
      exp_avg_sq[i] = Words::narrow(e.exp_avg_sq, bits >> 16);
      parameter[i] = std::fma(rate, e.step, parameter[i]);
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
  [[nodiscard]] Measuring measuring() const noexcept override {
    return {.passes = 1, .scalars = 2, .reads_states = true};
  }

  void measure(int /*pass*/, const Part& part, const UpdateArgs& args, const Sums& sums) const override {
    with_words(options_, [&]<typename Words>() {
      const MeasureLoop<Words> loop{pointers<Words>(part), constants(args), sums.scalars.data()};
      run_widest(loop, part.parameter.size());
    });
  }

  void update(const Part& part, const UpdateArgs& args) const override {
    const double parameter_norm = std::sqrt(part.totals.scalars[0]), step_norm = std::sqrt(part.totals.scalars[1]);
    const bool adapts = (args.weight_decay != 0 || adapts_all_) && parameter_norm != 0 && step_norm != 0;
    double rate = args.lr;
    if (adapts) rate = std::clamp(args.lr * parameter_norm / step_norm, args.lr * min_coeff_, args.lr * max_coeff_);
    with_words(options_, [&]<typename Words>() {
      const ApplyLoop<Words> loop{pointers<Words>(part), constants(args), static_cast<float>(-rate), noise_stream(args),
                                  static_cast<std::uint64_t>(part.first_in_model / kBlock)};
      run_widest(loop, part.parameter.size());
    });
  }

 private:
  template <typename Words>
  static Pointers<Words> pointers(const Part& part) {
    SLUICE_CHECK(part.parameter.size() == part.gradient.size() && part.states.size() == 2);
    using Word = typename Words::Word;
    return {part.parameter.data(), part.gradient.data(), static_cast<Word*>(part.states[0].elements),
            static_cast<Word*>(part.states[1].elements)};
  }

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
