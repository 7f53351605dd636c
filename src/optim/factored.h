// The rule behind adafactor and adalomo: a second moment of which a matrix keeps row and column means only (Shazeer and
// Stern, arXiv 1804.04235), updates bounded by their root mean square, rates in proportion to the parameter's. Private
// to optim.
#pragma once
#include <optional>
#include <vector>

#include "optim/rule.h"

namespace sluice::optim {

struct FactoredOptions {
  double eps1 = 1e-30;          ///< added to squared gradients
  double eps2 = 1e-3;           ///< least root mean square of a parameter, with scale_parameter
  double clip_threshold = 1;    ///< most root mean square of an update
  double decay_rate = -0.8;     ///< of the second moment: 1 - t^decay_rate
  std::optional<double> beta1;  ///< of a momentum on updates; absent: none
  bool scale_parameter = true;  ///< the rate is multiplied by the parameter's root mean square
  bool relative_step = false;   ///< min(1e-2, 1 / sqrt(t)) in place of the rate
  bool warmup_init = false;     ///< of relative_step: min(1e-6 t, 1 / sqrt(t))
};

/// As transformers' Adafactor computes it (transformers/optimization.py). Two passes measure: squares of the gradient
/// by row and column, then those of the update and of the parameter.
class FactoredRule final : public UpdateRule {
 public:
  explicit FactoredRule(const FactoredOptions& options);

  [[nodiscard]] std::span<const StateSpec> states() const noexcept override { return states_; }
  [[nodiscard]] Measuring measuring() const noexcept override {
    return {.passes = 2, .scalars = 2, .rows = true, .columns = true};
  }
  void measure(int pass, const Part& part, const UpdateArgs& args, const Sums& sums) const override;
  void conclude(int pass, const Part& tensor, const UpdateArgs& args) const override;
  void update(const Part& part, const UpdateArgs& args) const override;

 private:
  /// Both of a matrix.
  static void measure_squares(const Part& part, const UpdateArgs& args, const Sums& sums);
  void measure_update(const Part& part, const UpdateArgs& args, const Sums& sums) const;
  /// Of the second moment, in step `args.step`.
  [[nodiscard]] double beta2(const UpdateArgs& args) const;
  /// On the quotient of gradient and root: the rate, bounded and scaled.
  [[nodiscard]] double rate(const Part& part, const UpdateArgs& args) const;
  [[nodiscard]] double scaled_lr(const Part& part, const UpdateArgs& args) const;

  FactoredOptions options_;
  std::vector<StateSpec> states_;
};

}  // namespace sluice::optim
