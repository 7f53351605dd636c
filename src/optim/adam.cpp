// Adam (Kingma and Ba, arXiv 1412.6980) with weight decay as an L2 term of the gradient.
#include <memory>

#include "optim/adam_rule.h"
#include "optim/factories.h"

namespace sluice::optim {
namespace {

std::unique_ptr<UpdateRule> make_adam(const OptionValues& values, const RuleOptions& options) {
  return std::make_unique<AdamRule>(AdamDecay::Coupled, values, options);
}

}  // namespace

RuleFactory adam_factory() { return {.make = make_adam, .options = kAdamOptions, .bf16_states = true}; }

}  // namespace sluice::optim
