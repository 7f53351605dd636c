// Pure: same trace, machine, recipe and request always give the same plans. A few choices are tried and the simulator
// is the judge.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "plan/machine.h"
#include "plan/plan.h"
#include "plan/residency.h"
#include "plan/saving.h"
#include "plan/step.h"
#include "plan/timeline.h"
#include "plan/trace.h"

namespace sluice::plan {

/// Keep: all are saved and wait in tier 0. Spill: all are saved, in whatever tier. Recompute: none.
enum class Activations { Auto, Keep, Spill, Recompute };

struct PlanRequest {
  Recipe recipe;
  Activations activations = Activations::Auto;
  int group_size = 0;                   ///< StepChoices::group_size; 0: the planner chooses
  int boundary_stride = 0;              ///< StepChoices::boundary_stride; 0: the planner chooses
  std::optional<SavingPattern> saving;  ///< what blocks save; else what `activations` says, or the planner chooses
  Bytes disk_write_limit = 0;           ///< bytes a day that training may write to the disk; 0: any
  bool forward_only =
      false;  ///< evaluation alone (generation if the trace has passes): `train` and `flush` have no actions
  bool with_evaluate = false;  ///< held-out evaluation needs a plan of its own
};

/// All variants of one run. They share buffers and what is in the arenas between periods.
struct PlanSet {
  Plan train, flush;
  std::optional<Plan> evaluate;
  std::vector<Plan> generate;                  ///< per StepTrace::pass_tokens
  std::vector<Bytes> arena_peak;               ///< per tier, over all variants
  Timeline predicted;                          ///< of a train period, steady state
  Seconds bound = 0;                           ///< what no schedule on this machine can beat
  [[nodiscard]] Bytes workspace_peak() const;  ///< of tier 0's arena, over all variants
};

/// "It does not fit" is a value: which tier lacks how much.
struct PlanResult {
  std::optional<PlanSet> plans;
  int short_tier = -1;
  Bytes needed = 0, available = 0;  ///< of that tier; `needed` is the smallest capacity that works
  /// Set when there are plans that fit, but each writes more to the disk than `disk_write_limit`: the least of them.
  std::optional<Bytes> least_written_per_day;
  std::string what;  ///< the row that does not fit
};

[[nodiscard]] PlanResult make_plan(const StepTrace& trace, const Machine& machine, const PlanRequest& request);

/// The plans that need least of tier 0, whatever the tiers have; not simulated.
[[nodiscard]] PlanSet smallest_plans(const StepTrace& trace, const Machine& machine, const PlanRequest& request);

/// The smallest tier-0 capacity for which make_plan succeeds: the peak of the most frugal plan. Every capacity at or
/// above it has a plan.
[[nodiscard]] Bytes smallest_arena(const StepTrace& trace, const Machine& machine, const PlanRequest& request);

}  // namespace sluice::plan
