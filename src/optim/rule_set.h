// The update rules of a run, and what each makes of the run's rate and decay. One alone for most; two where adapters
// and their base are trained by different rules; and behind each that is for hidden layers alone, one for the rest.
// Chunks of parameters name theirs by its number.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "optim/param_groups.h"
#include "optim/rule.h"
#include "optim/weight_precision.h"

namespace sluice::optim {

struct RuleUse {
  std::unique_ptr<UpdateRule> rule;         ///< wrapped for `precision`
  WeightPrecision precision = {};           ///< of the weights that it updates
  double lr_factor = 1;                     ///< of the schedule's rate
  std::optional<double> weight_decay = {};  ///< absent: the run's
  std::vector<ParamGroup> groups = {};      ///< factors are of this rule's own rate
  std::optional<int> rest = {};             ///< number of the rule for embeddings and heads; absent: this one

  /// The run's `args` as this rule has them.
  [[nodiscard]] UpdateArgs args(UpdateArgs args) const {
    args.lr *= lr_factor;
    args.weight_decay = weight_decay.value_or(args.weight_decay);
    return args;
  }
};

using RuleSet = std::vector<RuleUse>;

}  // namespace sluice::optim
