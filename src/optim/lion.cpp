// Lion (Chen et al., arXiv 2302.06675): the sign of an interpolated momentum, decoupled decay, in the order of the
// authors' code: decay, step along the sign, then the momentum takes the gradient in.
#include <array>
#include <cmath>

#include "base/check.h"
#include "base/isa.h"
#include "optim/factories.h"

namespace sluice::optim {
namespace {

constexpr OptionSpec kOptions[] = {{"beta1", 0.9, 0, 1}, {"beta2", 0.99, 0, 1}};

struct LionLoop {
  float* parameter_data;
  const float* gradient_data;
  float* exp_avg_data;
  float gradient_scale, decay, beta1, one_minus_beta1, beta2, one_minus_beta2, lr;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* __restrict const parameter = parameter_data;
    const float* __restrict const gradient = gradient_data;
    float* __restrict const exp_avg = exp_avg_data;
    const LionLoop c = *this;
    for (std::size_t i = 0; i < count; ++i) {
      const float g = gradient[i] * c.gradient_scale;
      const float m = exp_avg[i];
      const float direction = std::fma(g, c.one_minus_beta1, m * c.beta1);
      // A NaN stays visible in the parameter; torch's sign would make it 0.
      const float step = direction > 0 ? c.lr : direction < 0 ? -c.lr : direction;
      exp_avg[i] = std::fma(g, c.one_minus_beta2, m * c.beta2);
      parameter[i] = parameter[i] * c.decay - step;
    }
  }
};

class LionRule final : public UpdateRule {
 public:
  explicit LionRule(const OptionValues& options) : beta1_(options["beta1"]), beta2_(options["beta2"]) {}

  [[nodiscard]] std::span<const StateSpec> states() const noexcept override { return states_; }

  void update(const Part& part, const UpdateArgs& args) const override {
    SLUICE_CHECK(part.parameter.size() == part.gradient.size() && part.states.size() == states_.size());
    const double beta1 = args.beta1.value_or(beta1_), beta2 = args.beta2.value_or(beta2_);
    const LionLoop loop{.parameter_data = part.parameter.data(),
                        .gradient_data = part.gradient.data(),
                        .exp_avg_data = part.states[0].floats(),
                        .gradient_scale = args.gradient_scale,
                        .decay = static_cast<float>(1 - args.lr * args.weight_decay),
                        .beta1 = static_cast<float>(beta1),
                        .one_minus_beta1 = static_cast<float>(1 - beta1),
                        .beta2 = static_cast<float>(beta2),
                        .one_minus_beta2 = static_cast<float>(1 - beta2),
                        .lr = static_cast<float>(args.lr)};
    run_widest(loop, part.parameter.size());
  }

 private:
  double beta1_, beta2_;
  std::array<StateSpec, 1> states_ = {{{"exp_avg"}}};
};

}  // namespace

RuleFactory lion_factory() { return {construct<LionRule>, kOptions}; }

}  // namespace sluice::optim
