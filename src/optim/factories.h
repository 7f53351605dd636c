// The makers behind the rows of the catalog, one per rule's file. Private to optim.
#pragma once
#include <memory>

#include "optim/rule.h"

namespace sluice::optim {

std::unique_ptr<UpdateRule> make_adamw_rule(const RuleOptions& options);
std::unique_ptr<UpdateRule> make_sgd_rule(const RuleOptions& options);
std::unique_ptr<UpdateRule> make_lomo_rule(const RuleOptions& options);
std::unique_ptr<UpdateRule> make_lamb_rule(const RuleOptions& options);

/// Throws ConfigError naming the option unless lowest <= value < limit (NaN is refused).
void check_option(std::string_view name, double value, double lowest, double limit);

}  // namespace sluice::optim
