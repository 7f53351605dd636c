// AdamW (Loshchilov and Hutter, arXiv 1711.05101) in the arithmetic of torch's fused CPU kernel: bias corrections in
// double, elements in fp32 with the same fused multiply-adds, hence the same bits as torch on a processor with FMA.
// With moments in bf16 the arithmetic is the same; the moments are rounded as they are stored.
#include <array>
#include <cmath>

#include "base/check.h"
#include "base/isa.h"
#include "optim/factories.h"
#include "optim/narrow.h"

namespace sluice::optim {
namespace {

constexpr OptionSpec kOptions[] = {{"beta1", 0.9, 0, 1}, {"beta2", 0.999, 0, 1}, {"eps", 1e-8}};

struct Constants {
  float gradient_scale, decay, beta2, one_minus_beta1, one_minus_beta2, root_correction2, eps, minus_step_size;
};

template <typename Words>
struct AdamWLoop {
  using Word = typename Words::Word;
  float* parameter_data;
  const float* gradient_data;
  Word* exp_avg_data;
  Word* exp_avg_sq_data;
  Constants constants;
  std::uint64_t stream, first_block;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    for (std::size_t first = 0; first < count; first += kBlock)
      block(first, count - first < kBlock ? count - first : kBlock);
  }

  [[gnu::always_inline]] void block(std::size_t first, std::size_t count) const {
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
      const float g = gradient[i] * c.gradient_scale;
      const float m_old = Words::widen(exp_avg[i]);
      const float m = std::fma(lerp, g - m_old, small_weight ? m_old : g);
      const float v = std::fma(c.one_minus_beta2 * g, g, Words::widen(exp_avg_sq[i]) * c.beta2);
      const float denominator = std::sqrt(v) / c.root_correction2 + c.eps;
      const std::uint32_t bits = noise(i);
      exp_avg[i] = Words::narrow(m, bits);
      exp_avg_sq[i] = Words::narrow(v, bits >> 16);
      parameter[i] = parameter[i] * c.decay + c.minus_step_size * m / denominator;
    }
  }
};

class AdamWRule final : public UpdateRule {
 public:
  AdamWRule(const OptionValues& values, const RuleOptions& options)
      : beta1_(values["beta1"]),
        beta2_(values["beta2"]),
        eps_(values["eps"]),
        options_(options),
        states_{{{"exp_avg", Extent::Elements, options.moments}, {"exp_avg_sq", Extent::Elements, options.moments}}} {}

  [[nodiscard]] std::span<const StateSpec> states() const noexcept override { return states_; }

  void update(const Part& part, const UpdateArgs& args) const override {
    SLUICE_CHECK(part.parameter.size() == part.gradient.size() && part.states.size() == states_.size() &&
                 args.step >= 1);
    with_words(options_, [&]<typename Words>() {
      using Word = typename Words::Word;
      const AdamWLoop<Words> loop{.parameter_data = part.parameter.data(),
                                  .gradient_data = part.gradient.data(),
                                  .exp_avg_data = static_cast<Word*>(part.states[0].elements),
                                  .exp_avg_sq_data = static_cast<Word*>(part.states[1].elements),
                                  .constants = constants(args),
                                  .stream = noise_stream(args),
                                  .first_block = static_cast<std::uint64_t>(part.first_in_model / kBlock)};
      run_widest(loop, part.parameter.size());
    });
  }

 private:
  [[nodiscard]] Constants constants(const UpdateArgs& args) const {
    const auto step = static_cast<double>(args.step);
    const double correction1 = 1 - std::pow(beta1_, step);
    const double correction2 = 1 - std::pow(beta2_, step);
    return {.gradient_scale = args.gradient_scale,
            .decay = static_cast<float>(1 - args.lr * args.weight_decay),
            .beta2 = static_cast<float>(beta2_),
            .one_minus_beta1 = static_cast<float>(1 - beta1_),
            .one_minus_beta2 = static_cast<float>(1 - beta2_),
            .root_correction2 = static_cast<float>(std::sqrt(correction2)),
            .eps = static_cast<float>(eps_),
            .minus_step_size = static_cast<float>(-(args.lr / correction1))};
  }

  double beta1_, beta2_, eps_;
  RuleOptions options_;
  std::array<StateSpec, 2> states_;
};

}  // namespace

RuleFactory adamw_factory() { return {.make = construct<AdamWRule>, .options = kOptions, .bf16_states = true}; }

}  // namespace sluice::optim
