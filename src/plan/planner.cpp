#include "plan/planner.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "plan/arena.h"
#include "plan/buffers.h"
#include "plan/movement.h"
#include "plan/simulator.h"
#include "plan/workspace.h"

namespace sluice::plan {
namespace {

/// One attempt: the choices of the step, and how much of tier 0 may be filled with buffers that wait.
struct Attempt {
  StepChoices choices = {};
  Bytes hold_limit = 0;      // buffers are held up to here
  Bytes move_limit = 0;      // fetches are hoisted and write-backs linger up to here
  int num_resident = 0;      // forward only: weights of the first so many chunks wait in tier 0 between periods
  double lower_share = 1.0;  // of the arenas below tier 0: what of their capacity the plan counts on
};

class Planner {
 public:
  Planner(const StepTrace& trace, const Machine& machine, const PlanRequest& request)
      : trace_(trace), machine_(machine), request_(request), has_store_(machine.tiers.back().kind == TierKind::Disk) {
    arenas_ = static_cast<int>(machine.tiers.size()) - (has_store_ ? 1 : 0);
    if (generates()) {
      for (int pass = 0; pass < num_passes(); ++pass) keep_clear(Variant::Generate, {.pass = pass});
    } else if (request.with_evaluate || request.forward_only) {
      keep_clear(Variant::Evaluate, {});
    }
  }

  PlanResult best() const {
    PlanResult result;
    const Bytes capacity = machine_.tiers[0].capacity;
    double lower_share = 1.0;
    result.plans = frugal(capacity, lower_share);
    if (!result.plans) {
      explain(result);
      return result;
    }
    search({.group_size = most_in_group(), .boundary_stride = least_stride()}, lower_share, result.plans);
    if (!request_.forward_only) search_orders(lower_share, result.plans);
    return result;
  }

  Bytes smallest() const { return smallest_frugal(1.0).arena_peak[0]; }

 private:
  void search(const StepChoices& order, double lower_share, std::optional<PlanSet>& best) const {
    for (Attempt& attempt : attempts()) {
      attempt.lower_share = lower_share;
      attempt.choices.group_size = order.group_size;
      attempt.choices.boundary_stride = order.boundary_stride;
      for (const double reserve : reserves()) try_out(attempt, reserve, best);
    }
  }

  // Smaller groups, then fewer boundaries: a few probes each, and a whole search where another group size won.
  void search_orders(double lower_share, std::optional<PlanSet>& best) const {
    StepChoices order{.boundary_stride = least_stride()};
    for (int size = 1; request_.group_size == 0 && size < most_in_group(); size *= 2) {
      order.group_size = size;
      for (const int kept : arenas_ == 1 ? kept_candidates() : std::vector{0}) probe(order, kept, lower_share, best);
    }
    order.group_size = best->train.group_size;
    if (order.group_size < most_in_group()) search(order, lower_share, best);
    if (request_.boundary_stride > 0 || arenas_ > 1) return;
    for (int stride = 2; 2 * stride <= num_keepable(); stride *= 2) {
      order.boundary_stride = stride;
      for (const int kept : {0, best->train.num_kept_blocks}) probe(order, kept, lower_share, best);
    }
  }

  // A plan that computes nothing twice and waits for nothing cannot be beaten.
  void probe(StepChoices order, int kept, double lower_share, std::optional<PlanSet>& best) const {
    const Timeline& step = best->predicted;
    if (best->train.num_kept_blocks == num_keepable() && step.stall <= 0.001 * step.total) return;
    const bool keeps = request_.activations == Activations::Keep, may = request_.activations == Activations::Auto;
    if (!may && kept != (keeps ? num_keepable() : 0)) return;
    order.num_kept_blocks = kept;
    try_out({.choices = order, .lower_share = lower_share}, reserves().back(), best);
  }

  void try_out(const Attempt& attempt, double reserve, std::optional<PlanSet>& best) const {
    std::optional<PlanSet> plans = fit(attempt, machine_.tiers[0].capacity, reserve);
    if (plans && better(*plans, best)) best = std::move(plans);
  }

  // Shrinks the limits until the placement, fragmentation included, fits as well.
  std::optional<PlanSet> fit(Attempt attempt, Bytes capacity, double reserve) const {
    Bytes limit = capacity;
    for (int i = 0; i < 6; ++i) {
      attempt.hold_limit = static_cast<Bytes>(static_cast<double>(limit) * (1.0 - reserve));
      attempt.move_limit = limit;
      std::optional<PlanSet> plans = build(attempt);
      if (!plans) return std::nullopt;
      if (within(*plans, capacity)) return predicted(std::move(*plans));
      if (plans->arena_peak[0] > capacity || arenas_ == 1) {
        limit -= std::max<Bytes>(plans->arena_peak[0] - capacity, MiB);
      } else {
        attempt.lower_share -= 0.125;
      }
    }
    return std::nullopt;
  }

  PlanSet predicted(PlanSet plans) const {
    if (request_.forward_only) return plans;
    plans.predicted = simulate(plans.train, machine_);
    plans.bound = lower_bound(plans.train, machine_);
    return plans;
  }

  // `lower_share` becomes the share of the lower arenas with which others are likely to fit: once this one had to do
  // with less, fuller plans need a step less.
  std::optional<PlanSet> frugal(Bytes capacity, double& lower_share) const {
    std::optional<PlanSet> best;
    for (Attempt& attempt : frugal_attempts()) {
      PlanSet plans = *build(attempt);
      while (!within(plans, capacity) && arenas_ > 1 && attempt.lower_share > 0) {
        attempt.lower_share -= 0.125;
        plans = *build(attempt);
      }
      if (!within(plans, capacity)) continue;
      plans = predicted(std::move(plans));
      if (!better(plans, best)) continue;
      best = std::move(plans);
      lower_share = attempt.lower_share < 1.0 ? attempt.lower_share - 0.125 : 1.0;
    }
    return best;
  }

  // With a tier below nothing waits in tier 0; without one everything must, and then the order of the step matters.
  std::vector<Attempt> frugal_attempts() const {
    if (request_.forward_only) return {{.num_resident = arenas_ > 1 || has_store_ ? 0 : num_chunks()}};
    const int kept = request_.activations == Activations::Keep ? num_keepable() : 0;
    std::vector<Attempt> attempts = {{{kept, MiB, most_in_group(), least_stride()}}};
    const int least = request_.group_size == 0 ? 1 : most_in_group();
    if (least < most_in_group()) attempts.push_back({{kept, MiB, least, least_stride()}});
    int stride = 1;
    while (kept == 0 && !has_store_ && (stride + 1) * (stride + 1) <= num_keepable()) ++stride;
    if (request_.boundary_stride == 0 && stride > 1) attempts.push_back({{kept, MiB, least, stride}});
    return attempts;
  }

  PlanSet smallest_frugal(double lower_share) const {
    std::optional<PlanSet> smallest;
    for (Attempt& attempt : frugal_attempts()) {
      attempt.lower_share = lower_share;
      PlanSet plans = *build(attempt);
      if (!smallest || plans.arena_peak[0] < smallest->arena_peak[0]) smallest = std::move(plans);
    }
    return std::move(*smallest);
  }

  bool within(const PlanSet& plans, Bytes capacity) const {
    for (int tier = 0; tier < arenas_; ++tier) {
      if (plans.arena_peak[tier] > (tier == 0 ? capacity : machine_.tiers[tier].capacity)) return false;
    }
    return !has_store_ || machine_.tiers.back().capacity == 0 ||
           plans.arena_peak.back() <= machine_.tiers.back().capacity;
  }

  // Of equally fast forward passes the one that reads less.
  bool better(const PlanSet& plans, const std::optional<PlanSet>& than) const {
    if (!than || plans.predicted.total < than->predicted.total * 0.999) return true;
    return request_.forward_only && plans.predicted.total <= than->predicted.total &&
           plans.predicted.disk_read < than->predicted.disk_read;
  }

  void keep_clear(Variant variant, const StepChoices& choices) {
    for (const RowWorkspace& row : replay_workspace(emit_rows(variant, trace_, request_.recipe, choices, 0)))
      entry_floor_ = std::max(entry_floor_, row.during);
  }

  int most_in_group() const {
    const int all = request_.recipe.num_micro_batches;
    return request_.group_size > 0 ? std::min(request_.group_size, all) : all;
  }
  int least_stride() const { return std::max(1, request_.boundary_stride); }
  bool generates() const { return request_.forward_only && !trace_.pass_tokens.empty(); }
  int num_passes() const { return static_cast<int>(trace_.pass_tokens.size()); }
  int num_chunks() const { return static_cast<int>(trace_.chunks.size()); }
  int num_keepable() const { return std::max(0, static_cast<int>(trace_.blocks.size()) - 2); }

  std::vector<Attempt> attempts() const {
    std::vector<Attempt> result;
    if (!request_.forward_only) {
      for (const int kept : kept_candidates()) result.push_back({{kept, 4 * MiB}});
      return result;
    }
    for (int eighth = arenas_ > 1 || has_store_ ? 0 : 8; eighth <= 8; ++eighth)
      result.push_back({.num_resident = num_chunks() * eighth / 8});
    return result;
  }

  // Shares of tier 0 that buffers on their way may use alone. Below an accelerator nearly everything is on its way, and
  // plans are large, so fewer are tried.
  std::vector<double> reserves() const { return arenas_ == 1 ? std::vector{0.0, 0.08, 0.2} : std::vector{0.0, 0.9}; }

  std::vector<int> kept_candidates() const {
    const int most = num_keepable();
    if (request_.activations == Activations::Keep) return {most};
    if (request_.activations == Activations::Recompute) return {0};
    std::vector<int> candidates = {0, 2, most / 4, most / 2, 3 * most / 4, most};
    if (arenas_ == 1) candidates.insert(candidates.end(), {1, 3});
    for (int& candidate : candidates) candidate = std::min(candidate, most);
    std::sort(candidates.begin(), candidates.end());
    candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
    return candidates;
  }

  // Where a buffer waits between passes of evaluation or generation alone; `used` is what is taken of each arena. -1:
  // in the store, or nowhere.
  int waiting_tier(const Buffer& buffer, const Attempt& attempt, std::span<const Bytes> used) const {
    if (buffer.kind == BufferKind::Cache) return 0;
    if (buffer.kind != BufferKind::Weight) return -1;
    if (buffer.chunk < attempt.num_resident) return 0;
    for (int tier = 1; tier < arenas_; ++tier) {
      const double share = static_cast<double>(machine_.tiers[tier].capacity) * attempt.lower_share;
      const bool last = !has_store_ && tier + 1 == arenas_;
      if (last || static_cast<double>(used[tier] + buffer.bytes) <= share) return tier;
    }
    return -1;
  }

  // Evaluation or generation alone: caches and some weights wait in tier 0, the others below; what is in the store
  // comes from there each time.
  PlanSet forward_only(Attempt attempt) const {
    PlanSet plans;
    attempt.choices.hold_entry = true;
    StepRows nothing;
    nothing.buffers = BufferTable(trace_, request_.recipe, attempt.choices.slice_bytes).buffers();
    std::vector<Bytes> used(arenas_, 0);
    used[0] = round_up(entry_floor_, 4096);
    for (BufferId id = 0; id < static_cast<BufferId>(nothing.buffers.size()); ++id) {
      const int tier = waiting_tier(nothing.buffers[id], attempt, used);
      if (tier < 0) continue;
      plans.train.entry.push_back({id, tier, used[tier]});
      used[tier] += nothing.buffers[id].bytes;
    }
    finish(plans.train, {}, nothing, {});
    plans.flush = plans.train;
    plans.arena_peak = plans.train.arena_peak;
    if (generates()) {
      for (int pass = 0; pass < num_passes(); ++pass) {
        attempt.choices.pass = pass;
        plans.generate.push_back(*build_variant(Variant::Generate, attempt, plans.train.entry));
        raise(plans.arena_peak, plans.generate.back().arena_peak);
      }
    } else {
      plans.evaluate = build_variant(Variant::Evaluate, attempt, plans.train.entry);
      raise(plans.arena_peak, plans.evaluate->arena_peak);
    }
    const Plan& repeated = generates() ? plans.generate.back() : *plans.evaluate;
    plans.predicted = simulate(repeated, machine_);
    plans.bound = lower_bound(repeated, machine_);
    if (has_store_) plans.arena_peak.back() = stored_bytes(plans);
    return plans;
  }

  std::optional<PlanSet> build(const Attempt& attempt) const {
    if (request_.forward_only) return forward_only(attempt);
    PlanSet plans;
    auto train = build_variant(Variant::Train, attempt, {});
    if (!train) return std::nullopt;
    plans.train = std::move(*train);
    plans.arena_peak = plans.train.arena_peak;
    if (arenas_ > 1 && attempt.hold_limit > 0 && !within(plans, machine_.tiers[0].capacity)) return plans;
    auto flush = build_variant(Variant::Flush, attempt, plans.train.entry);
    if (!flush) return std::nullopt;
    plans.flush = std::move(*flush);
    raise(plans.arena_peak, plans.flush.arena_peak);
    if (request_.with_evaluate) {
      std::vector<EntryState> entry = plans.train.entry;  // gradients are used up before an evaluation
      std::erase_if(entry, [&](const EntryState& state) { return !plans.train.buffers[state.buffer].persistent; });
      plans.evaluate = build_variant(Variant::Evaluate, attempt, entry);
      if (!plans.evaluate) return std::nullopt;
      raise(plans.arena_peak, plans.evaluate->arena_peak);
    }
    if (has_store_) plans.arena_peak.back() = stored_bytes(plans);
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
      for (int tier = 1; tier < arenas_; ++tier)
        result[tier] = static_cast<Bytes>(static_cast<double>(machine_.tiers[tier].capacity) * attempt.lower_share);
      return result;
    };
    const ResidencyOptions options{.limits = limits(attempt.hold_limit),
                                   .num_tiers = static_cast<int>(machine_.tiers.size()),
                                   .has_store = has_store_,
                                   .cyclic = variant == Variant::Train};
    Residency residency = choose_residency(step, times, floor, options);
    if (!request_.forward_only && attempt.hold_limit > 0 && never_fits(residency)) return std::nullopt;
    const std::vector<Bytes> move_limits = limits(attempt.move_limit);
    Draft draft = plan_moves(step, std::move(residency), times, workspace, machine_, move_limits);
    pin_entry(draft, entry);
    plan.arena_peak = place_stays(draft, step.buffers, arenas_, variant == Variant::Train ? entry_floor_ : 0);
    add_dependencies(draft, step.buffers, variant == Variant::Train);
    finish(plan, std::move(draft), step, attempt.choices);
    plan.workspace_peak = floor.empty() ? 0 : *std::max_element(floor.begin(), floor.end());
    return plan;
  }

  // What must be held alone is more than tier 0 has: lower limits change nothing.
  bool never_fits(const Residency& residency) const {
    return std::ranges::any_of(residency.shortages, [&](const Shortage& shortage) {
      return shortage.tier == 0 && shortage.needed > machine_.tiers[0].capacity;
    });
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
    plan.group_size = choices.group_size;
    plan.boundary_stride = choices.boundary_stride;
    for (DraftAction& action : draft.actions) plan.actions.push_back(std::move(action.action));
    for (const Stay& stay : draft.stays) {
      plan.residences.push_back({stay.buffer, stay.tier, stay.offset, stay.first_action, stay.last_action});
      const bool at_start = stay.whole_period || stay.first_action > stay.last_action;
      if (step.variant == Variant::Train && at_start)
        plan.entry.push_back({stay.buffer, stay.tier, stay.offset, stay.clean_at_wrap});
    }
    plan.arena_peak.resize(arenas_, 0);
    if (has_store_) plan.arena_peak.push_back(persistent_bytes(plan));
  }

  // At most: every persistent buffer waits on disk.
  static Bytes persistent_bytes(const Plan& plan) {
    Bytes total = 0;
    for (const Buffer& buffer : plan.buffers) total += buffer.persistent ? 2 * buffer.bytes : 0;
    return total;
  }

  // What exec::State reserves: buffers that any variant moves to or from the disk, and state that waits there. State
  // has two generations, what passes through has one.
  static Bytes stored_bytes(const PlanSet& plans) {
    const std::vector<Buffer>& buffers = plans.train.buffers;
    std::vector<char> stored(buffers.size(), 0);
    for (std::size_t i = 0; i < buffers.size(); ++i) stored[i] = buffers[i].persistent;
    for (const EntryState& entry : plans.train.entry) stored[entry.buffer] = 0;
    std::vector<const Plan*> all = {&plans.train, &plans.flush};
    if (plans.evaluate) all.push_back(&*plans.evaluate);
    for (const Plan& pass : plans.generate) all.push_back(&pass);
    for (const Plan* plan : all) {
      for (const Action& action : plan->actions) {
        if (action.lane != Lane::DiskRead && action.lane != Lane::DiskWrite) continue;
        stored[action.slots[0].buffer] = 1;
      }
    }
    Bytes total = 0;
    for (std::size_t i = 0; i < buffers.size(); ++i)
      total += stored[i] ? buffers[i].bytes * (buffers[i].persistent ? 2 : 1) : 0;
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
    const PlanSet plans = smallest_frugal(0);
    for (int tier = 0; tier < static_cast<int>(machine_.tiers.size()); ++tier) {
      const Bytes capacity = machine_.tiers[tier].capacity;
      if (plans.arena_peak[tier] <= capacity) continue;
      result.short_tier = tier;
      result.needed = plans.arena_peak[tier];
      result.available = capacity;
      return;
    }
  }

  const StepTrace& trace_;
  const Machine& machine_;
  const PlanRequest& request_;
  const bool has_store_;
  int arenas_ = 1;
  Bytes entry_floor_ = 0;  // workspace of evaluation and generation: what waits between periods is not in its way
};

}  // namespace

PlanResult make_plan(const StepTrace& trace, const Machine& machine, const PlanRequest& request) {
  return Planner(trace, machine, request).best();
}

Bytes PlanSet::workspace_peak() const {
  Bytes peak = std::max({train.workspace_peak, flush.workspace_peak, evaluate ? evaluate->workspace_peak : 0});
  for (const Plan& plan : generate) peak = std::max(peak, plan.workspace_peak);
  return peak;
}

Bytes smallest_arena(const StepTrace& trace, const Machine& machine, const PlanRequest& request) {
  return Planner(trace, machine, request).smallest();
}

}  // namespace sluice::plan
