// Adagrad (Duchi, Hazan and Singer, 2011) in the arithmetic of torch's fused CPU kernel. The sum of squares starts at
// `initial_accumulator_value`: the first update takes that in place of the stored zeros.
#include <array>
#include <cmath>

#include "base/check.h"
#include "base/isa.h"
#include "optim/coupled_decay.h"
#include "optim/factories.h"

namespace sluice::optim {
namespace {

constexpr OptionSpec kOptions[] = {{"lr_decay"}, {"initial_accumulator_value"}, {"eps", 1e-10}};

struct AdagradLoop {
  float* parameter_data;
  const float* gradient_data;
  float* sum_data;
  float gradient_scale, weight_decay, eps, rate, initial;
  bool first;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* __restrict const parameter = parameter_data;
    const float* __restrict const gradient = gradient_data;
    float* __restrict const sum = sum_data;
    const AdagradLoop c = *this;
    for (std::size_t i = 0; i < count; ++i) {
      const float p = parameter[i];
      const float g = coupled_decay(gradient[i] * c.gradient_scale, p, c.weight_decay);
      const float s = std::fma(g, g, c.first ? c.initial : sum[i]);
      sum[i] = s;
      parameter[i] = p - c.rate * g / (std::sqrt(s) + c.eps);
    }
  }
};

class AdagradRule final : public UpdateRule {
 public:
  explicit AdagradRule(const OptionValues& options)
      : lr_decay_(options["lr_decay"]), initial_(options["initial_accumulator_value"]), eps_(options["eps"]) {}

  [[nodiscard]] std::span<const StateSpec> states() const noexcept override { return states_; }

  void update(const Part& part, const UpdateArgs& args) const override {
    SLUICE_CHECK(part.parameter.size() == part.gradient.size() && part.states.size() == states_.size() &&
                 args.step >= 1);
    const AdagradLoop loop{
        .parameter_data = part.parameter.data(),
        .gradient_data = part.gradient.data(),
        .sum_data = part.states[0].floats(),
        .gradient_scale = args.gradient_scale,
        .weight_decay = static_cast<float>(args.weight_decay),
        .eps = static_cast<float>(eps_),
        .rate = static_cast<float>(args.lr / (1.0 + (static_cast<double>(args.step) - 1.0) * lr_decay_)),
        .initial = static_cast<float>(initial_),
        .first = args.step == 1};
    run_widest(loop, part.parameter.size());
  }

 private:
  double lr_decay_, initial_, eps_;
  std::array<StateSpec, 1> states_ = {{{"sum"}}};
};

}  // namespace

RuleFactory adagrad_factory() { return {construct<AdagradRule>, kOptions}; }

}  // namespace sluice::optim
