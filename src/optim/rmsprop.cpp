// RMSprop (Tieleman and Hinton, 2012), optionally centered and with momentum on the quotient, in the arithmetic of
// torch's element-wise operators, which its optimizer calls one after the other; torch's square root is MKL's, so a
// last bit may differ.
#include <cmath>
#include <vector>

#include "base/check.h"
#include "base/isa.h"
#include "optim/coupled_decay.h"
#include "optim/factories.h"

namespace sluice::optim {
namespace {

constexpr OptionSpec kOptions[] = {
    {"alpha", 0.99, 0, 1}, {"eps", 1e-8}, {"momentum"}, {.name = "centered", .choices = kSwitch}};

template <bool kMomentum, bool kCentered>
struct RmspropLoop {
  float* parameter_data;
  const float* gradient_data;
  float* square_avg_data;
  float* momentum_data;
  float* grad_avg_data;
  float gradient_scale, weight_decay, alpha, one_minus_alpha, eps, momentum, minus_lr;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* __restrict const parameter = parameter_data;
    const float* __restrict const gradient = gradient_data;
    float* __restrict const square_avg = square_avg_data;
    float* __restrict const buffer = momentum_data;
    float* __restrict const grad_avg = grad_avg_data;
    // torch's lerp: from the nearer end
    const bool small_weight = one_minus_alpha < 0.5F;
    const float lerp = small_weight ? one_minus_alpha : one_minus_alpha - 1.0F;
    const RmspropLoop c = *this;
    for (std::size_t i = 0; i < count; ++i) {
      const float p = parameter[i];
      const float g = coupled_decay(gradient[i] * c.gradient_scale, p, c.weight_decay);
      const float v = std::fma(c.one_minus_alpha * g, g, square_avg[i] * c.alpha);
      square_avg[i] = v;
      float variance = v;
      if constexpr (kCentered) {
        const float old = grad_avg[i];
        const float mean = std::fma(lerp, g - old, small_weight ? old : g);
        grad_avg[i] = mean;
        variance = std::fma(-mean, mean, v);
      }
      const float root = std::sqrt(variance) + c.eps;
      if constexpr (kMomentum) {
        const float b = buffer[i] * c.momentum + g / root;
        buffer[i] = b;
        parameter[i] = std::fma(b, c.minus_lr, p);
      } else {
        parameter[i] = p + c.minus_lr * g / root;
      }
    }
  }
};

class RmspropRule final : public UpdateRule {
 public:
  explicit RmspropRule(const OptionValues& options)
      : alpha_(options["alpha"]),
        eps_(options["eps"]),
        momentum_(options["momentum"]),
        centered_(options["centered"] != 0) {
    states_.push_back({"square_avg"});
    if (momentum_ != 0) states_.push_back({"momentum_buffer"});
    if (centered_) states_.push_back({"grad_avg"});
  }

  [[nodiscard]] std::span<const StateSpec> states() const noexcept override { return states_; }

  void update(const Part& part, const UpdateArgs& args) const override {
    SLUICE_CHECK(part.parameter.size() == part.gradient.size() && part.states.size() == states_.size());
    if (momentum_ != 0) {
      centered_ ? run<true, true>(part, args) : run<true, false>(part, args);
    } else {
      centered_ ? run<false, true>(part, args) : run<false, false>(part, args);
    }
  }

 private:
  template <bool kMomentum, bool kCentered>
  void run(const Part& part, const UpdateArgs& args) const {
    const RmspropLoop<kMomentum, kCentered> loop{.parameter_data = part.parameter.data(),
                                                 .gradient_data = part.gradient.data(),
                                                 .square_avg_data = part.states[0].floats(),
                                                 .momentum_data = kMomentum ? part.states[1].floats() : nullptr,
                                                 .grad_avg_data = kCentered ? part.states.back().floats() : nullptr,
                                                 .gradient_scale = args.gradient_scale,
                                                 .weight_decay = static_cast<float>(args.weight_decay),
                                                 .alpha = static_cast<float>(alpha_),
                                                 .one_minus_alpha = static_cast<float>(1 - alpha_),
                                                 .eps = static_cast<float>(eps_),
                                                 .momentum = static_cast<float>(momentum_),
                                                 .minus_lr = static_cast<float>(-args.lr)};
    run_widest(loop, part.parameter.size());
  }

  double alpha_, eps_, momentum_;
  bool centered_;
  std::vector<StateSpec> states_;
};

}  // namespace

RuleFactory rmsprop_factory() { return {construct<RmspropRule>, kOptions}; }

}  // namespace sluice::optim
