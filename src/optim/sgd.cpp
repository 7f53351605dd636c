// SGD with momentum, dampening, Nesterov and L2 weight decay in the arithmetic of torch's fused CPU kernel: the same
// bits as torch on a processor with FMA. The first update sets the momentum buffer to the gradient, undampened.
#include <cmath>
#include <limits>
#include <vector>

#include "base/check.h"
#include "base/isa.h"
#include "optim/factories.h"

namespace sluice::optim {
namespace {

struct Constants {
  float gradient_scale, weight_decay, momentum, one_minus_dampening, minus_lr;
};

[[gnu::always_inline]] inline float decayed(float gradient, float parameter, const Constants& c) {
  return c.weight_decay != 0 ? std::fma(parameter, c.weight_decay, gradient) : gradient;
}

struct PlainLoop {
  float* parameter_data;
  const float* gradient_data;
  Constants constants;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* __restrict const parameter = parameter_data;
    const float* __restrict const gradient = gradient_data;
    const Constants c = constants;
    for (std::size_t i = 0; i < count; ++i) {
      const float p = parameter[i];
      parameter[i] = std::fma(decayed(gradient[i] * c.gradient_scale, p, c), c.minus_lr, p);
    }
  }
};

struct MomentumLoop {
  float* parameter_data;
  const float* gradient_data;
  float* buffer_data;
  Constants constants;
  bool first;
  bool nesterov;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* __restrict const parameter = parameter_data;
    const float* __restrict const gradient = gradient_data;
    float* __restrict const buffer = buffer_data;
    const Constants c = constants;
    const bool is_first = first;
    const bool looks_ahead = nesterov;
    for (std::size_t i = 0; i < count; ++i) {
      const float p = parameter[i];
      const float g = decayed(gradient[i] * c.gradient_scale, p, c);
      const float b = is_first ? g : std::fma(g, c.one_minus_dampening, buffer[i] * c.momentum);
      buffer[i] = b;
      parameter[i] = std::fma(looks_ahead ? std::fma(b, c.momentum, g) : b, c.minus_lr, p);
    }
  }
};

class SgdRule final : public UpdateRule {
 public:
  explicit SgdRule(const RuleOptions& options) : options_(options) {
    check_option("momentum", options.momentum, 0, std::numeric_limits<double>::infinity());
    if (options.nesterov && (options.momentum == 0 || options.dampening != 0))
      throw ConfigError("optim", "nesterov cannot be used", "expected momentum > 0 and dampening = 0",
                        "set --momentum or leave nesterov out");
    if (options.momentum != 0) states_.push_back({"momentum_buffer"});
  }

  [[nodiscard]] std::span<const StateSpec> states() const noexcept override { return states_; }

  void update(const Part& part, const UpdateArgs& args) const override {
    const auto parameter = part.parameter;
    const auto gradient = part.gradient;
    const auto states = part.states;
    SLUICE_CHECK(parameter.size() == gradient.size() && states.size() == states_.size() && args.step >= 1);
    const Constants constants{.gradient_scale = args.gradient_scale,
                              .weight_decay = static_cast<float>(args.weight_decay),
                              .momentum = static_cast<float>(options_.momentum),
                              .one_minus_dampening = static_cast<float>(1 - options_.dampening),
                              .minus_lr = static_cast<float>(-args.lr)};
    if (states.empty()) {
      run_widest(PlainLoop{parameter.data(), gradient.data(), constants}, parameter.size());
    } else {
      run_widest(MomentumLoop{parameter.data(), gradient.data(), states[0].floats(), constants, args.step == 1,
                              options_.nesterov},
                 parameter.size());
    }
  }

 private:
  RuleOptions options_;
  std::vector<StateSpec> states_;
};

}  // namespace

std::unique_ptr<UpdateRule> make_sgd_rule(const RuleOptions& options) { return std::make_unique<SgdRule>(options); }

}  // namespace sluice::optim
