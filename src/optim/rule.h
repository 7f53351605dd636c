// Update rules: from gradient to new parameter. A rule owns no memory: it names its states and the sums that it needs
// over a tensor; tiers hold the states, so that they may live on disk and pass through in slices, and whoever runs the
// rule holds the sums. How a tensor is cut changes no bit.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/catalog.h"
#include "optim/options.h"
#include "optim/state_spec.h"

namespace sluice::optim {

/// What changes from step to step.
struct UpdateArgs {
  double lr = 0;
  double weight_decay = 0;
  std::int64_t step = 1;     ///< applied updates counted from 1; a skipped step does not count
  float gradient_scale = 1;  ///< clip coefficient times inverse loss scale; multiplies the gradient first
  std::uint64_t seed = 0;    ///< of stochastic rounding
  std::optional<double> beta1 = {}, beta2 = {};  ///< where the schedule cycles them; else a rule has its own
};

/// Sums over a tensor. `rows` and `columns` are as long as a matrix has rows and columns, and empty for a vector.
struct Sums {
  std::span<double> scalars, rows, columns;
  std::span<float> column_factors = {};  ///< of totals, as long as `columns`: what `conclude` makes of them
};

/// What a rule wants to know of a whole tensor before it applies anything: so many passes that look. The sums are zero
/// before the first; a pass adds to its own scalars, one pass alone to rows or columns.
struct Measuring {
  int passes = 0;
  int scalars = 0;
  bool rows = false, columns = false;
  /// So many states, the first ones and sliced: the last pass changes them and leaves what `update` needs of them in
  /// Part::direction, so that they move once. No other pass and no `update` sees them.
  int advanced = 0;
};

/// A matrix made nearly orthogonal (kellerjordan.github.io/posts/muon): X / max(|X|, eps), then so many times
/// X <- a X + b (X X^T) X + c (X X^T)^2 X, which brings all singular values near 1.
struct NewtonSchulz {
  double a = 3.4445, b = -4.7750, c = 2.0315;
  int steps = 5;
  double eps = 1e-7;
};

/// What torch has as operators for every device (at::_fused_adamw_ and its like), for places where a rule's own loops
/// do not run. `Descent`: p (1 - lr weight_decay) - lr g.
struct DeviceForm {
  enum class Kind { Adam, AdamW, Sgd, Descent };
  Kind kind = Kind::Descent;
  double beta1 = 0, beta2 = 0, eps = 0;  ///< of Adam and AdamW
  double momentum = 0, dampening = 0;    ///< of Sgd
  bool nesterov = false;
};

/// A run of elements of one tensor, from a multiple of kBlock on. The spans do not overlap; any alignment.
struct Part {
  std::span<float> parameter = {};
  std::span<const float> gradient = {};
  std::span<const StateView> states = {};    ///< in the rule's order; rows, columns and scalars from their start on
  std::span<const std::int64_t> shape = {};  ///< of the whole tensor
  std::int64_t first = 0;                    ///< of the run, in the tensor
  std::int64_t first_in_model = 0;           ///< the same in all tensors, each begun at a multiple of kBlock
  Sums totals = {};                          ///< of the passes before
  std::span<float> direction = {};           ///< the gradient's memory, for rules that write over it (`direct`, or
                                             ///< Measuring::advanced)
  std::int64_t num_joined = 1;               ///< so many matrices of equal width stand side by side in the tensor
};

/// Calls on disjoint parts may run at the same time; nothing allocates.
class UpdateRule {
 public:
  virtual ~UpdateRule() = default;

  /// The states in the order in which a Part has them. Valid as long as the rule.
  [[nodiscard]] virtual std::span<const StateSpec> states() const noexcept = 0;
  /// By default nothing: one pass, element by element.
  [[nodiscard]] virtual Measuring measuring() const noexcept { return {}; }

  /// Looks at a part in pass `pass` (from 0) and adds to `sums`, one addition per block of kBlock elements (or per row
  /// or column of one). The caller adds up parts in an order that depends on the tensor's shape alone, with a row's
  /// elements in one place. Changes nothing else but what `Measuring::advanced` says.
  virtual void measure(int /*pass*/, const Part& /*part*/, const UpdateArgs& /*args*/, const Sums& /*sums*/) const {}
  /// Once per tensor after each measuring pass, with an empty run: may change states that are not sliced, and replace
  /// `totals` by what the passes to come need of them.
  virtual void conclude(int /*pass*/, const Part& /*tensor*/, const UpdateArgs& /*args*/) const {}

  /// Of a rule that steps along orthogonal matrices: it needs each tensor of two or more dimensions whole. `direct`
  /// leaves a direction, whoever runs the rule makes it orthogonal ([shape[0], all others], each joined matrix by
  /// itself), and `update` follows it.
  [[nodiscard]] virtual std::optional<NewtonSchulz> orthogonalizes() const noexcept { return {}; }
  /// Of a part of such a matrix: changes its states, and writes its direction over the gradient.
  virtual void direct(const Part& /*part*/, const UpdateArgs& /*args*/) const {}

  /// How a device other than the CPU computes it from the same states; none: it does not.
  [[nodiscard]] virtual std::optional<DeviceForm> device_form() const noexcept { return {}; }

  /// Updates parameter and sliced states in place. Any split of a tensor and any instruction set give the same bits.
  /// Where there are no sums and no blocks, NaN and infinity pass through to the elements that they stand in.
  virtual void update(const Part& part, const UpdateArgs& args) const = 0;
};

/// What a rule is made of.
struct RuleOptions {
  GivenOptions values = {};                 ///< of the options that the rule declares
  StateFormat moments = StateFormat::Fp32;  ///< of the sliced states: fp32 or bf16
  bool stochastic_rounding = true;          ///< of states narrower than fp32; else to the nearest
  double lr = 0;  ///< the run's, for rules that have a second rate beside it; 0: none is known
};

/// How a row makes its rule from the options that it declares, whether the rule is meant to run inside backward (its
/// gradient is never kept), and whether its states may be bf16.
struct RuleFactory {
  std::unique_ptr<UpdateRule> (*make)(const OptionValues&, const RuleOptions&);
  std::span<const OptionSpec> options = {};
  bool in_backward = false;
  bool bf16_states = false;
  /// Of a rule for hidden layers alone: what updates embeddings and heads in its place, from the same options.
  std::unique_ptr<UpdateRule> (*make_rest)(const OptionValues&, const RuleOptions&) = nullptr;
};

using RuleRow = CatalogRow<RuleFactory>;

/// All rules, as `sluice list optimizers` prints them.
std::span<const RuleRow> rule_catalog();

/// Throws ConfigError for an unknown name, an option that the rule does not declare, or one outside its range.
std::unique_ptr<UpdateRule> make_rule(std::string_view name, const RuleOptions& options);
/// RuleFactory::make_rest; null for a rule that is for all layers.
std::unique_ptr<UpdateRule> make_rest_rule(std::string_view name, const RuleOptions& options);

}  // namespace sluice::optim
