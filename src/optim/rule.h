// Update rules: from gradient to new parameter. A rule owns no memory: it names its states, the tiers hold them, so a
// state may live on disk and pass through in slices. Rules are element-wise here: slicing a tensor changes no bit.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/catalog.h"

namespace sluice::optim {

/// One state of a rule: one fp32 element per parameter element, zero before the first update. Names are torch's
/// ("exp_avg", "exp_avg_sq", "momentum_buffer").
struct StateSpec {
  std::string name;
};

/// What changes from step to step.
struct UpdateArgs {
  double lr = 0;
  double weight_decay = 0;
  std::int64_t step = 1;     ///< applied updates counted from 1; a skipped step does not count
  float gradient_scale = 1;  ///< clip coefficient times inverse loss scale; multiplies the gradient first
};

class UpdateRule {
 public:
  virtual ~UpdateRule() = default;

  /// The states in the order in which `update` takes them. Valid as long as the rule.
  [[nodiscard]] virtual std::span<const StateSpec> states() const noexcept = 0;

  /// Updates `parameter` and `states` in place from `gradient` (same length; each state points at as many elements;
  /// no two overlap; any alignment). Element-wise: any split of a tensor and any instruction set give the same bits.
  /// NaN and infinity pass through to the elements they stand in. Thread-safe on disjoint ranges; no allocation.
  virtual void update(std::span<float> parameter, std::span<const float> gradient, std::span<float* const> states,
                      const UpdateArgs& args) const = 0;
};

/// Constants of the rules, with torch's names and defaults; a rule reads those it knows.
struct RuleOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double momentum = 0;
  double dampening = 0;
  bool nesterov = false;
};

/// How a row makes its rule, and whether the rule is meant to run inside backward (its gradient is never kept).
struct RuleFactory {
  std::unique_ptr<UpdateRule> (*make)(const RuleOptions&);
  bool in_backward = false;
  std::unique_ptr<UpdateRule> operator()(const RuleOptions& options) const { return make(options); }
};

using RuleRow = CatalogRow<RuleFactory>;

/// All rules, as `sluice list optimizers` prints them.
std::span<const RuleRow> rule_catalog();

/// Throws ConfigError for an unknown name or options outside the rule's range.
std::unique_ptr<UpdateRule> make_rule(std::string_view name, const RuleOptions& options);

}  // namespace sluice::optim
