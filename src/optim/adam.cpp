// Adam (Kingma and Ba, arXiv 1412.6980) with weight decay as an L2 term of the gradient, in the arithmetic of torch's
// fused CPU kernel: the same bits as torch on a processor with FMA.
#include <array>
#include <cmath>

#include "base/check.h"
#include "base/isa.h"
#include "optim/coupled_decay.h"
#include "optim/factories.h"

namespace sluice::optim {
namespace {

constexpr OptionSpec kOptions[] = {{"beta1", 0.9, 0, 1}, {"beta2", 0.999, 0, 1}, {"eps", 1e-8}};

struct AdamLoop {
  float* parameter_data;
  const float* gradient_data;
  float* exp_avg_data;
  float* exp_avg_sq_data;
  float gradient_scale, weight_decay, beta2, one_minus_beta1, one_minus_beta2, root_correction2, eps, minus_step_size;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* __restrict const parameter = parameter_data;
    const float* __restrict const gradient = gradient_data;
    float* __restrict const exp_avg = exp_avg_data;
    float* __restrict const exp_avg_sq = exp_avg_sq_data;
    // torch's lerp: from the nearer end
    const bool small_weight = one_minus_beta1 < 0.5F;
    const float lerp = small_weight ? one_minus_beta1 : one_minus_beta1 - 1.0F;
    const AdamLoop c = *this;
    for (std::size_t i = 0; i < count; ++i) {
      const float p = parameter[i];
      const float g = coupled_decay(gradient[i] * c.gradient_scale, p, c.weight_decay);
      const float m_old = exp_avg[i];
      const float m = std::fma(lerp, g - m_old, small_weight ? m_old : g);
      const float v = std::fma(c.one_minus_beta2 * g, g, exp_avg_sq[i] * c.beta2);
      exp_avg[i] = m;
      exp_avg_sq[i] = v;
      parameter[i] = p + c.minus_step_size * m / (std::sqrt(v) / c.root_correction2 + c.eps);
    }
  }
};

class AdamRule final : public UpdateRule {
 public:
  explicit AdamRule(const OptionValues& options)
      : beta1_(options["beta1"]), beta2_(options["beta2"]), eps_(options["eps"]) {}

  [[nodiscard]] std::span<const StateSpec> states() const noexcept override { return states_; }

  void update(const Part& part, const UpdateArgs& args) const override {
    SLUICE_CHECK(part.parameter.size() == part.gradient.size() && part.states.size() == states_.size() &&
                 args.step >= 1);
    const auto step = static_cast<double>(args.step);
    const AdamLoop loop{.parameter_data = part.parameter.data(),
                        .gradient_data = part.gradient.data(),
                        .exp_avg_data = part.states[0].floats(),
                        .exp_avg_sq_data = part.states[1].floats(),
                        .gradient_scale = args.gradient_scale,
                        .weight_decay = static_cast<float>(args.weight_decay),
                        .beta2 = static_cast<float>(beta2_),
                        .one_minus_beta1 = static_cast<float>(1 - beta1_),
                        .one_minus_beta2 = static_cast<float>(1 - beta2_),
                        .root_correction2 = static_cast<float>(std::sqrt(1 - std::pow(beta2_, step))),
                        .eps = static_cast<float>(eps_),
                        .minus_step_size = static_cast<float>(-(args.lr / (1 - std::pow(beta1_, step))))};
    run_widest(loop, part.parameter.size());
  }

 private:
  double beta1_, beta2_, eps_;
  std::array<StateSpec, 2> states_ = {{{"exp_avg"}, {"exp_avg_sq"}}};
};

}  // namespace

RuleFactory adam_factory() { return {construct<AdamRule>, kOptions}; }

}  // namespace sluice::optim
