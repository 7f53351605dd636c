// AdaLomo (Lv et al., arXiv 2310.10195) as the authors' package lomo_optim computes it: Adafactor's factored moment and
// bounds, applied while backward runs. The paper's algorithm 1 prints U = G / V; the code divides by the root, as here.
#include <memory>

#include "optim/factored.h"
#include "optim/factories.h"

namespace sluice::optim {
namespace {

constexpr OptionSpec kOptions[] = {
    {"eps1", 1e-30}, {"eps2", 1e-3}, {"clip_threshold", 1, 1e-30}, {"decay_rate", -0.8, -kUnlimited, 0}};

std::unique_ptr<UpdateRule> make_adalomo(const OptionValues& options, const RuleOptions& /*states*/) {
  return std::make_unique<FactoredRule>(FactoredOptions{.eps1 = options["eps1"],
                                                        .eps2 = options["eps2"],
                                                        .clip_threshold = options["clip_threshold"],
                                                        .decay_rate = options["decay_rate"],
                                                        .beta1 = {}});
}

}  // namespace

RuleFactory adalomo_factory() { return {.make = make_adalomo, .options = kOptions, .in_backward = true}; }

}  // namespace sluice::optim
