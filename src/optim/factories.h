// What stands behind the rows of the catalog: one factory per rule's file. Private to optim.
#pragma once
#include <type_traits>

#include "optim/rule.h"

namespace sluice::optim {

/// RuleFactory::make of a rule whose constructor takes its options, and those of its states if it has formats.
template <typename Rule>
std::unique_ptr<UpdateRule> construct(const OptionValues& values, [[maybe_unused]] const RuleOptions& options) {
  if constexpr (std::is_constructible_v<Rule, const OptionValues&, const RuleOptions&>) {
    return std::make_unique<Rule>(values, options);
  } else {
    return std::make_unique<Rule>(values);
  }
}

RuleFactory adafactor_factory();
RuleFactory adagrad_factory();
RuleFactory adalomo_factory();
RuleFactory adam_factory();
RuleFactory adamw_8bit_factory();
RuleFactory adamw_factory();
RuleFactory lamb_factory();
RuleFactory lars_factory();
RuleFactory lion_factory();
RuleFactory lomo_factory();
RuleFactory muon_factory();
RuleFactory rmsprop_factory();
RuleFactory sgd_factory();

}  // namespace sluice::optim
