// Adafactor in transformers' variant (and fairseq's), with what transformers' trainer passes as defaults: an outer
// rate, not scaled by the parameter.
#include <memory>

#include "base/error.h"
#include "optim/factored.h"
#include "optim/factories.h"

namespace sluice::optim {
namespace {

constexpr OptionSpec kOptions[] = {{"eps1", 1e-30},
                                   {"eps2", 1e-3},
                                   {"clip_threshold", 1, 1e-30},
                                   {"decay_rate", -0.8, -kUnlimited, 0},
                                   {"beta1", kNotGiven, 0, 1},
                                   {.name = "scale_parameter", .choices = kSwitch},
                                   {.name = "relative_step", .choices = kSwitch},
                                   {.name = "warmup_init", .choices = kSwitch}};

std::unique_ptr<UpdateRule> make_adafactor(const OptionValues& options, const RuleOptions& /*states*/) {
  FactoredOptions factored{.eps1 = options["eps1"],
                           .eps2 = options["eps2"],
                           .clip_threshold = options["clip_threshold"],
                           .decay_rate = options["decay_rate"],
                           .beta1 = {},
                           .scale_parameter = options["scale_parameter"] != 0,
                           .relative_step = options["relative_step"] != 0,
                           .warmup_init = options["warmup_init"] != 0};
  if (options.given("beta1")) factored.beta1 = options["beta1"];
  if (factored.warmup_init && !factored.relative_step)
    throw ConfigError("optim", "warmup_init cannot be used", "expected relative_step=true with it, got false");
  return std::make_unique<FactoredRule>(factored);
}

}  // namespace

RuleFactory adafactor_factory() { return {make_adafactor, kOptions}; }

}  // namespace sluice::optim
