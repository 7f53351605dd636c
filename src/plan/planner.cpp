#include "plan/planner.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "plan/arena.h"
#include "plan/movement.h"
#include "plan/simulator.h"
#include "plan/workspace.h"

namespace sluice::plan {
namespace {

constexpr Bytes kUnlimited = Bytes{1} << 60;

/// One attempt: the choices of the step, and how much of tier 0 may be filled with buffers that wait.
struct Attempt {
  StepChoices choices;
  Bytes hold_limit = 0;  // buffers are held up to here
  Bytes move_limit = 0;  // fetches are hoisted and write-backs linger up to here
};

class Planner {
 public:
  Planner(const StepTrace& trace, const Machine& machine, const PlanRequest& request)
      : trace_(trace), machine_(machine), request_(request), has_store_(machine.tiers.back().kind == TierKind::Disk) {
    arenas_ = static_cast<int>(machine.tiers.size()) - (has_store_ ? 1 : 0);
    SLUICE_CHECK(arenas_ == 1 || !request.with_evaluate, "evaluation is planned for one arena tier");
    if (request.with_evaluate) {
      for (const RowWorkspace& row : replay_workspace(emit_rows(Variant::Evaluate, trace, request.recipe, {}, 0)))
        evaluate_workspace_ = std::max(evaluate_workspace_, row.during);
    }
  }

  PlanResult best() const {
    PlanResult result;
    const Bytes capacity = machine_.tiers[0].capacity;
    result.plans = frugal(capacity);
    if (!result.plans) {
      explain(result);
      return result;
    }
    for (const int kept : kept_candidates()) {
      for (const double reserve : {0.0, 0.08, 0.2}) {
        std::optional<PlanSet> plans = fit({kept, 4 * MiB}, capacity, reserve);
        if (plans && better(*plans, result.plans)) result.plans = std::move(plans);
      }
    }
    return result;
  }

  Bytes smallest() const {
    const std::optional<PlanSet> plans = build(frugal_attempt());
    return plans ? plans->arena_peak[0] : 0;
  }

 private:
  // Shrinks the limits until the placement, fragmentation included, fits as well.
  std::optional<PlanSet> fit(const StepChoices& choices, Bytes capacity, double reserve) const {
    Bytes limit = capacity;
    for (int attempt = 0; attempt < 6; ++attempt) {
      const auto hold = static_cast<Bytes>(static_cast<double>(limit) * (1.0 - reserve));
      std::optional<PlanSet> plans = build({choices, hold, limit});
      if (!plans) return std::nullopt;
      if (within(*plans, capacity)) return plans;
      limit -= std::max<Bytes>(plans->arena_peak[0] - capacity, MiB);
    }
    return std::nullopt;
  }

  std::optional<PlanSet> frugal(Bytes capacity) const {
    std::optional<PlanSet> plans = build(frugal_attempt());
    if (plans && !within(*plans, capacity)) plans.reset();
    return plans;
  }

  // With a store nothing waits in tier 0; without one everything must.
  Attempt frugal_attempt() const {
    if (request_.activations == Activations::Keep) return {{num_keepable(), MiB}, 0, 0};
    return {{0, MiB}, 0, 0};
  }

  bool within(const PlanSet& plans, Bytes capacity) const {
    for (int tier = 0; tier < arenas_; ++tier) {
      if (plans.arena_peak[tier] > (tier == 0 ? capacity : machine_.tiers[tier].capacity)) return false;
    }
    return !has_store_ || machine_.tiers.back().capacity == 0 ||
           plans.arena_peak.back() <= machine_.tiers.back().capacity;
  }

  static bool better(const PlanSet& plans, const std::optional<PlanSet>& than) {
    return !than || plans.predicted.total < than->predicted.total * 0.999;
  }

  int num_keepable() const { return std::max(0, static_cast<int>(trace_.blocks.size()) - 2); }

  std::vector<int> kept_candidates() const {
    const int most = num_keepable();
    if (request_.activations == Activations::Keep) return {most};
    if (request_.activations == Activations::Recompute) return {0};
    std::vector<int> candidates = {0, 1, 2, 3, most / 4, most / 2, 3 * most / 4, most};
    for (int& candidate : candidates) candidate = std::min(candidate, most);
    std::sort(candidates.begin(), candidates.end());
    candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
    return candidates;
  }

  std::optional<PlanSet> build(const Attempt& attempt) const {
    PlanSet plans;
    const auto train = build_variant(Variant::Train, attempt, {});
    if (!train) return std::nullopt;
    plans.train = *train;
    auto flush = build_variant(Variant::Flush, attempt, plans.train.entry);
    if (!flush) return std::nullopt;
    plans.flush = std::move(*flush);
    plans.arena_peak = plans.train.arena_peak;
    raise(plans.arena_peak, plans.flush.arena_peak);
    if (request_.with_evaluate) {
      plans.evaluate = build_variant(Variant::Evaluate, attempt, plans.train.entry);
      if (!plans.evaluate) return std::nullopt;
      raise(plans.arena_peak, plans.evaluate->arena_peak);
    }
    plans.predicted = simulate(plans.train, machine_);
    plans.bound = lower_bound(plans.train, machine_);
    return plans;
  }

  static void raise(std::vector<Bytes>& most, const std::vector<Bytes>& than) {
    for (std::size_t tier = 0; tier < most.size(); ++tier) most[tier] = std::max(most[tier], than[tier]);
  }

  std::optional<Plan> build_variant(Variant variant, const Attempt& attempt, std::span<const EntryState> entry) const {
    const StepRows step = emit_rows(variant, trace_, request_.recipe, attempt.choices, machine_.update_tier, entry);
    Plan plan;
    plan.entry.assign(entry.begin(), entry.end());
    if (std::all_of(step.rows.begin(), step.rows.end(), [](const Row& row) { return row.kind == ActionKind::Evict; })) {
      finish(plan, {}, step, attempt.choices);  // nothing to do: a flush without pending gradients
      return plan;
    }
    const std::vector<RowWorkspace> workspace = replay_workspace(step);
    std::vector<Bytes> floor;
    for (const RowWorkspace& row : workspace) floor.push_back(row.during);
    const RowTimes times = row_times(step);
    const auto limits = [&](Bytes tier0) {
      std::vector<Bytes> result(arenas_, tier0);
      for (int tier = 1; tier < arenas_; ++tier) result[tier] = machine_.tiers[tier].capacity;
      return result;
    };
    const ResidencyOptions options{.limits = limits(attempt.hold_limit),
                                   .num_tiers = static_cast<int>(machine_.tiers.size()),
                                   .has_store = has_store_,
                                   .cyclic = variant == Variant::Train};
    Residency residency = choose_residency(step, times, floor, options);
    const std::vector<Bytes> move_limits = limits(attempt.move_limit);
    Draft draft = plan_moves(step, std::move(residency), times, workspace, machine_, move_limits);
    pin_entry(draft, entry);
    plan.arena_peak = place_stays(draft, step.buffers, arenas_, variant == Variant::Train ? evaluate_workspace_ : 0);
    add_dependencies(draft, step.buffers, variant == Variant::Train);
    finish(plan, std::move(draft), step, attempt.choices);
    plan.workspace_peak = floor.empty() ? 0 : *std::max_element(floor.begin(), floor.end());
    return plan;
  }

  // What was in an arena before the variant is, and will be again, where it was.
  static void pin_entry(Draft& draft, std::span<const EntryState> entry) {
    for (const EntryState& state : entry) {
      for (Stay& stay : draft.stays) {
        if (stay.buffer != state.buffer || stay.tier != state.tier) continue;
        if (stay.pinned) stay.offset = state.offset;
      }
    }
  }

  void finish(Plan& plan, Draft draft, const StepRows& step, const StepChoices& choices) const {
    plan.variant = step.variant;
    plan.buffers = step.buffers;
    plan.slice_elements = step.slice_elements;
    plan.num_kept_blocks = choices.num_kept_blocks;
    plan.num_micro_batches = request_.recipe.num_micro_batches;
    for (DraftAction& action : draft.actions) plan.actions.push_back(std::move(action.action));
    for (const Stay& stay : draft.stays) {
      plan.residences.push_back({stay.buffer, stay.tier, stay.offset, stay.first_action, stay.last_action});
      const bool at_start = stay.whole_period || stay.first_action > stay.last_action;
      if (step.variant == Variant::Train && at_start)
        plan.entry.push_back({stay.buffer, stay.tier, stay.offset, stay.clean_at_wrap});
    }
    plan.arena_peak.resize(arenas_, 0);
    if (has_store_) plan.arena_peak.push_back(stored_bytes(plan));
  }

  // State has two generations on disk; transient buffers that pass through have one.
  static Bytes stored_bytes(const Plan& plan) {
    std::vector<char> stored(plan.buffers.size(), 0);
    Bytes total = 0;
    for (const Action& action : plan.actions) {
      if (action.kind == ActionKind::WriteBack && action.slots[1].offset < 0) stored[action.slots[1].buffer] = 1;
    }
    for (std::size_t i = 0; i < plan.buffers.size(); ++i) {
      if (plan.buffers[i].persistent || stored[i])
        total += plan.buffers[i].bytes * (plan.buffers[i].persistent ? 2 : 1);
    }
    return total;
  }

  RowTimes row_times(const StepRows& step) const {
    RowTimes times;
    times.start.push_back(0);
    for (const Row& row : step.rows) {
      Seconds seconds = 0;
      if (row.compute != nullptr)
        seconds = predict_compute(*row.compute, machine_);
      else if (row.kind == ActionKind::Update)
        seconds = static_cast<double>(row.bytes) / machine_.update_memory;
      else if (row.kind == ActionKind::ReduceNorm)
        seconds = static_cast<double>(row.bytes) / machine_.compute.memory;
      times.start.push_back(times.start.back() + seconds);
    }
    return times;
  }

  void explain(PlanResult& result) const {
    const std::optional<PlanSet> plans = build(frugal_attempt());
    for (int tier = 0; tier < static_cast<int>(machine_.tiers.size()); ++tier) {
      const Bytes capacity = machine_.tiers[tier].capacity;
      if (plans->arena_peak[tier] <= capacity) continue;
      result.short_tier = tier;
      result.needed = plans->arena_peak[tier];
      result.available = capacity;
      return;
    }
  }

  const StepTrace& trace_;
  const Machine& machine_;
  const PlanRequest& request_;
  const bool has_store_;
  int arenas_ = 1;
  Bytes evaluate_workspace_ = 0;  // what waits between periods must not be in its way
};

}  // namespace

PlanResult make_plan(const StepTrace& trace, const Machine& machine, const PlanRequest& request) {
  return Planner(trace, machine, request).best();
}

Bytes smallest_arena(const StepTrace& trace, const Machine& machine, const PlanRequest& request) {
  return Planner(trace, machine, request).smallest();
}

}  // namespace sluice::plan
