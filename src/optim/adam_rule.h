// The rule behind adam and adamw, in the arithmetic of torch's fused CPU kernel: bias corrections in double, elements
// in fp32 with the same fused multiply-adds, hence the same bits as torch on a processor with FMA. With moments in bf16
// the arithmetic is the same; the moments are rounded as they are stored. Private to optim.
#pragma once
#include <array>

#include "optim/rule.h"

namespace sluice::optim {

/// Where weight decay goes: into the gradient, or past it.
enum class AdamDecay { Coupled, Decoupled };

/// Of moments that begin at zero, as DeepSpeed and apex name the switch.
inline constexpr OptionSpec kBiasCorrection = {.name = "bias_correction", .fallback = 1, .choices = kSwitch};
inline constexpr OptionSpec kAdamOptions[] = {
    {"beta1", 0.9, 0, 1}, {"beta2", 0.999, 0, 1}, {"eps", 1e-8}, kBiasCorrection};

class AdamRule : public UpdateRule {
 public:
  AdamRule(AdamDecay decay, const OptionValues& values, const RuleOptions& options);

  [[nodiscard]] std::span<const StateSpec> states() const noexcept override { return states_; }
  [[nodiscard]] std::optional<DeviceForm> device_form() const noexcept override;
  void update(const Part& part, const UpdateArgs& args) const override;

 private:
  AdamDecay decay_;
  double beta1_, beta2_, eps_;
  bool corrects_;
  RuleOptions options_;
  std::array<StateSpec, 2> states_;
};

}  // namespace sluice::optim
