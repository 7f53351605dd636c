// LOMO (arXiv 2306.09782): plain gradient descent applied while backward runs, so that no gradient is kept. Weight
// decay is decoupled, p (1 - lr wd), as in the authors' package lomo_optim.
#include <cmath>

#include "base/check.h"
#include "base/isa.h"
#include "optim/factories.h"

namespace sluice::optim {
namespace {

struct LomoLoop {
  float* parameter_data;
  const float* gradient_data;
  float gradient_scale, decay, minus_lr;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* __restrict const parameter = parameter_data;
    const float* __restrict const gradient = gradient_data;
    const LomoLoop c = *this;
    for (std::size_t i = 0; i < count; ++i)
      parameter[i] = std::fma(gradient[i] * c.gradient_scale, c.minus_lr, parameter[i] * c.decay);
  }
};

class LomoRule final : public UpdateRule {
 public:
  explicit LomoRule(const OptionValues&) {}

  [[nodiscard]] std::span<const StateSpec> states() const noexcept override { return {}; }
  [[nodiscard]] std::optional<DeviceForm> device_form() const noexcept override { return DeviceForm{}; }

  void update(const Part& part, const UpdateArgs& args) const override {
    SLUICE_CHECK(part.parameter.size() == part.gradient.size() && part.states.empty());
    const LomoLoop loop{.parameter_data = part.parameter.data(),
                        .gradient_data = part.gradient.data(),
                        .gradient_scale = args.gradient_scale,
                        .decay = static_cast<float>(1 - args.lr * args.weight_decay),
                        .minus_lr = static_cast<float>(-args.lr)};
    run_widest(loop, part.parameter.size());
  }
};

}  // namespace

RuleFactory lomo_factory() { return {.make = construct<LomoRule>, .in_backward = true}; }

}  // namespace sluice::optim
