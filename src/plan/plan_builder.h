// One attempt of the planner made into plans: rows, residency, moves, addresses, for every variant of a run.
#pragma once
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "plan/movement.h"
#include "plan/planner.h"
#include "plan/saving.h"

namespace sluice::plan {

/// One attempt: the choices of the step, and how much of tier 0 may be filled with buffers that wait.
struct Attempt {
  StepChoices choices = {};
  SavingPattern saving = {};
  Bytes hold_limit = 0;      // buffers are held up to here
  Bytes move_limit = 0;      // fetches are hoisted and write-backs linger up to here
  int num_resident = 0;      // forward only: weights of the first so many chunks wait in tier 0 between periods
  double lower_share = 1.0;  // of the arenas below tier 0: what of their capacity the plan counts on
};

/// Pure; refers to what it was given. `PlanSet::predicted` is left to the caller, except for forward passes alone.
class PlanBuilder {
 public:
  PlanBuilder(const StepTrace& trace, const Machine& machine, const PlanRequest& request);

  /// No value: what must be held alone is more than tier 0 has, so lower limits change nothing.
  [[nodiscard]] std::optional<PlanSet> build(Attempt attempt) const;
  /// Do they fit into `capacity` of tier 0 and the other tiers' own?
  [[nodiscard]] bool within(const PlanSet& plans, Bytes capacity) const;
  [[nodiscard]] int arenas() const { return arenas_; }
  [[nodiscard]] bool has_store() const { return has_store_; }

 private:
  void keep_clear(Variant variant, const StepChoices& choices);
  bool generates() const { return request_.forward_only && !trace_.pass_tokens.empty(); }
  int num_passes() const { return static_cast<int>(trace_.pass_tokens.size()); }
  PlanSet forward_only(Attempt attempt) const;
  /// Where a buffer waits between passes of evaluation or generation alone; `used` is what is taken of each arena. -1:
  /// in the store, or nowhere.
  int waiting_tier(const Buffer& buffer, const Attempt& attempt, std::span<const Bytes> used) const;
  std::optional<Plan> build_variant(Variant variant, const Attempt& attempt, std::span<const EntryState> entry) const;
  bool never_fits(const Residency& residency) const;
  void finish(Plan& plan, Draft draft, const StepRows& step, const StepChoices& choices) const;
  RowTimes row_times(const StepRows& step) const;
  Seconds compute_seconds(const ComputeTrace& compute) const;
  Seconds row_seconds(const StepRows& step, const Row& row) const;
  Seconds joint_update_seconds(const Row& row) const;

  const StepTrace& trace_;
  const Machine& machine_;
  const PlanRequest& request_;
  const bool has_store_;
  mutable std::map<const ComputeTrace*, Seconds> compute_seconds_;  // priced once
  int arenas_ = 1;
  Bytes entry_floor_ = 0;  // workspace of evaluation and generation: what waits between periods is not in its way
};

}  // namespace sluice::plan
