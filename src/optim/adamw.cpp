// AdamW (Loshchilov and Hutter, arXiv 1711.05101): Adam whose weight decay goes past the gradient.
#include <memory>

#include "optim/adam_rule.h"
#include "optim/factories.h"

namespace sluice::optim {
namespace {

std::unique_ptr<UpdateRule> make_adamw(const OptionValues& values, const RuleOptions& options) {
  return std::make_unique<AdamRule>(AdamDecay::Decoupled, values, options);
}

}  // namespace

RuleFactory adamw_factory() { return {.make = make_adamw, .options = kAdamOptions, .bf16_states = true}; }

}  // namespace sluice::optim
