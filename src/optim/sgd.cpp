// SGD with momentum, dampening, Nesterov and L2 weight decay in the arithmetic of torch's fused CPU kernel: the same
// bits as torch on a processor with FMA. The first update sets the momentum buffer to the gradient, undampened.
#include <cmath>
#include <vector>

#include "base/check.h"
#include "base/isa.h"
#include "optim/coupled_decay.h"
#include "optim/factories.h"

namespace sluice::optim {
namespace {

constexpr OptionSpec kOptions[] = {
    {"momentum"}, {"dampening", 0, -kUnlimited}, {.name = "nesterov", .choices = kSwitch}};

struct Constants {
  float gradient_scale, weight_decay, momentum, one_minus_dampening, minus_lr;
};

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
      parameter[i] = std::fma(coupled_decay(gradient[i] * c.gradient_scale, p, c.weight_decay), c.minus_lr, p);
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
      const float g = coupled_decay(gradient[i] * c.gradient_scale, p, c.weight_decay);
      const float b = is_first ? g : std::fma(g, c.one_minus_dampening, buffer[i] * c.momentum);
      buffer[i] = b;
      parameter[i] = std::fma(looks_ahead ? std::fma(b, c.momentum, g) : b, c.minus_lr, p);
    }
  }
};

class SgdRule final : public UpdateRule {
 public:
  explicit SgdRule(const OptionValues& options)
      : momentum_(options["momentum"]), dampening_(options["dampening"]), nesterov_(options["nesterov"] != 0) {
    if (nesterov_ && (momentum_ == 0 || dampening_ != 0))
      throw ConfigError("optim", "nesterov cannot be used", "expected momentum > 0 and dampening = 0",
                        "set --momentum or leave nesterov out");
    if (momentum_ != 0) states_.push_back({"momentum_buffer"});
  }

  [[nodiscard]] std::span<const StateSpec> states() const noexcept override { return states_; }

  void update(const Part& part, const UpdateArgs& args) const override {
    const auto parameter = part.parameter;
    const auto gradient = part.gradient;
    const auto states = part.states;
    SLUICE_CHECK(parameter.size() == gradient.size() && states.size() == states_.size() && args.step >= 1);
    const Constants constants{.gradient_scale = args.gradient_scale,
                              .weight_decay = static_cast<float>(args.weight_decay),
                              .momentum = static_cast<float>(momentum_),
                              .one_minus_dampening = static_cast<float>(1 - dampening_),
                              .minus_lr = static_cast<float>(-args.lr)};
    if (states.empty()) {
      run_widest(PlainLoop{parameter.data(), gradient.data(), constants}, parameter.size());
    } else {
      run_widest(
          MomentumLoop{parameter.data(), gradient.data(), states[0].floats(), constants, args.step == 1, nesterov_},
          parameter.size());
    }
  }

 private:
  double momentum_, dampening_;
  bool nesterov_;
  std::vector<StateSpec> states_;
};

}  // namespace

RuleFactory sgd_factory() { return {construct<SgdRule>, kOptions}; }

}  // namespace sluice::optim
