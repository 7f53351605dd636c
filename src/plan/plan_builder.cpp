#include "plan/plan_builder.h"

#include <algorithm>

#include "plan/arena.h"
#include "plan/buffers.h"
#include "plan/exchange_time.h"
#include "plan/op_time.h"
#include "plan/simulator.h"
#include "plan/workspace.h"

namespace sluice::plan {
namespace {

void raise(std::vector<Bytes>& most, const std::vector<Bytes>& than) {
  for (std::size_t tier = 0; tier < most.size(); ++tier) most[tier] = std::max(most[tier], than[tier]);
}

// What was in an arena before the variant is, and will be again, where it was.
void pin_entry(Draft& draft, std::span<const EntryState> entry) {
  for (const EntryState& state : entry) {
    for (Stay& stay : draft.stays) {
      if (stay.buffer != state.buffer || stay.tier != state.tier) continue;
      if (stay.pinned) stay.offset = state.offset;
    }
  }
}

// At most: every persistent buffer waits on disk.
Bytes persistent_bytes(const Plan& plan) {
  Bytes total = 0;
  for (const Buffer& buffer : plan.buffers) total += buffer.persistent ? buffer.bytes_on_disk() : 0;
  return total;
}

// What exec::State reserves: buffers that any variant moves to or from the disk, and state that waits there.
Bytes stored_bytes(const PlanSet& plans) {
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
  for (std::size_t i = 0; i < buffers.size(); ++i) total += stored[i] ? buffers[i].bytes_on_disk() : 0;
  return total;
}

// Ranks that hold the same part are a group apart, so fewer of them share a node.
Network links_among(Network network, const Sharding& sharding, Among among) {
  if (among == Among::Replicas && network.ranks_per_node > 0)
    network.ranks_per_node = std::max(1, network.ranks_per_node / sharding.ranks_per_group());
  return network;
}

}  // namespace

PlanBuilder::PlanBuilder(const StepTrace& trace, const Machine& machine, const PlanRequest& request)
    : trace_(trace), machine_(machine), request_(request), has_store_(is_store(machine.tiers.back().kind)) {
  arenas_ = static_cast<int>(machine.tiers.size()) - (has_store_ ? 1 : 0);
  if (generates()) {
    for (int pass = 0; pass < num_passes(); ++pass) keep_clear(Variant::Generate, {.pass = pass});
  } else if (request.with_evaluate || request.forward_only) {
    keep_clear(Variant::Evaluate, {});
  }
  if (!request.forward_only && !trace.updates.empty()) keep_clear(Variant::Flush, {});
}

void PlanBuilder::keep_clear(Variant variant, const StepChoices& choices) {
  for (const Bytes row : replay_workspace(emit_rows(variant, trace_, request_.recipe, choices, 0)))
    entry_floor_ = std::max(entry_floor_, row);
}

bool PlanBuilder::within(const PlanSet& plans, Bytes capacity) const {
  for (int tier = 0; tier < arenas_; ++tier) {
    if (plans.arena_peak[tier] > (tier == 0 ? capacity : machine_.tiers[tier].capacity)) return false;
  }
  return !has_store_ || machine_.tiers.back().capacity == 0 ||
         plans.arena_peak.back() <= machine_.tiers.back().capacity;
}

int PlanBuilder::waiting_tier(const Buffer& buffer, const Attempt& attempt, std::span<const Bytes> used) const {
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
PlanSet PlanBuilder::forward_only(Attempt attempt) const {
  PlanSet plans;
  attempt.choices.hold_entry = true;
  StepRows nothing;
  nothing.buffers = BufferTable(trace_, request_.recipe, attempt.choices).buffers();
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

std::optional<PlanSet> PlanBuilder::build(Attempt attempt) const {
  if (request_.forward_only) return forward_only(attempt);
  attempt.choices.saved = saved_masks(trace_, attempt.saving);
  attempt.choices.hold_saved = request_.activations == Activations::Keep;
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

std::optional<Plan> PlanBuilder::build_variant(Variant variant, const Attempt& attempt,
                                               std::span<const EntryState> entry) const {
  const StepRows step = emit_rows(variant, trace_, request_.recipe, attempt.choices, machine_.update_tier, entry);
  Plan plan;
  plan.entry.assign(entry.begin(), entry.end());
  if (std::all_of(step.rows.begin(), step.rows.end(), [](const Row& row) { return row.kind == ActionKind::Evict; })) {
    finish(plan, {}, step, attempt.choices);  // nothing to do: a flush without pending gradients
    return plan;
  }
  const std::vector<Bytes> workspace = replay_workspace(step);
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
  Residency residency = choose_residency(step, times, workspace, options);
  if (!request_.forward_only && attempt.hold_limit > 0 && never_fits(residency)) return std::nullopt;
  const std::vector<Bytes> move_limits = limits(attempt.move_limit);
  Draft draft = plan_moves(step, std::move(residency), times, workspace, machine_, move_limits);
  pin_entry(draft, entry);
  plan.arena_peak = place_stays(draft, step.buffers, arenas_, variant == Variant::Train ? entry_floor_ : 0);
  add_dependencies(draft, step.buffers, variant == Variant::Train);
  finish(plan, std::move(draft), step, attempt.choices);
  plan.workspace_peak = workspace.empty() ? 0 : *std::max_element(workspace.begin(), workspace.end());
  return plan;
}

// What must be held alone is more than tier 0 has: lower limits change nothing.
bool PlanBuilder::never_fits(const Residency& residency) const {
  return std::ranges::any_of(residency.shortages, [&](const Shortage& shortage) {
    return shortage.tier == 0 && shortage.needed > machine_.tiers[0].capacity;
  });
}

void PlanBuilder::finish(Plan& plan, Draft draft, const StepRows& step, const StepChoices& choices) const {
  plan.variant = step.variant;
  plan.buffers = step.buffers;
  plan.slice_elements = step.slice_elements;
  plan.slice_starts = step.slice_starts;
  plan.num_micro_batches = request_.recipe.num_micro_batches;
  plan.group_size = choices.group_size;
  plan.boundary_stride = choices.boundary_stride;
  plan.sharding = request_.recipe.sharding;
  plan.loss_in_segments = choices.loss_in_segments;
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

RowTimes PlanBuilder::row_times(const StepRows& step) const {
  RowTimes times;
  times.start.push_back(0);
  for (const Row& row : step.rows) times.start.push_back(times.start.back() + row_seconds(step, row));
  return times;
}

Seconds PlanBuilder::compute_seconds(const ComputeTrace& compute) const {
  const auto [found, is_new] = compute_seconds_.try_emplace(&compute, 0);
  if (is_new) found->second = predict_compute(compute, machine_);
  return found->second;
}

Seconds PlanBuilder::row_seconds(const StepRows& step, const Row& row) const {
  const auto at_rate = [](Bytes bytes, BytesPerSecond rate) {
    return rate > 0 ? static_cast<double>(bytes) / rate : 0.0;
  };
  if (row.kind == ActionKind::Update) {
    Seconds seconds = at_rate(row.bytes, machine_.update_memory);
    for (const ComputeTrace* compute : row.of_tensors) seconds += compute_seconds(*compute);
    return seconds;
  }
  if (row.kind == ActionKind::ReduceNorm) {
    const BytesPerSecond memory = machine_.update_tier > 0 ? machine_.update_memory : machine_.compute.memory;
    return at_rate(row.bytes, machine_.norm_memory > 0 ? machine_.norm_memory : memory);
  }
  if (row.lane == Lane::Communication) {
    const bool narrow = row.wire != NumberFormat::Fp32;  // made 16 bits wide, and fp32 again; or with its residual
    const int passes = row.wire == NumberFormat::OneBit ? 4 : 3;
    const Bytes touched = narrow ? passes * step.buffers[row.uses.front().buffer].bytes : 0;
    const Sharding& sharding = request_.recipe.sharding;
    const Network links = links_among(machine_.network, sharding, row.among);
    const int rounds = row.kind == ActionKind::AllReduce && row.wire != NumberFormat::OneBit ? 2 : 1;
    return exchange_seconds(links, sharding.members(row.among), row.bytes, rounds) +
           at_rate(touched, machine_.compute.memory);
  }
  if (row.kind == ActionKind::Recv || row.kind == ActionKind::Send || row.kind == ActionKind::Broadcast)
    return joint_update_seconds(row);
  if (row.compute == nullptr) return 0;
  Seconds seconds = compute_seconds(*row.compute);
  for (const Use& use : row.uses) {  // sums of gradients start from zero
    const Buffer& buffer = step.buffers[use.buffer];
    if (buffer.kind == BufferKind::Gradient && use.access == Access::Write)
      seconds += at_rate(buffer.bytes, machine_.compute.memory);
  }
  return seconds;
}

// Sums go from rank to rank, so the last one waits until all before it have measured, and all wait for the last.
// Whole tensors are shared out, more or less evenly.
Seconds PlanBuilder::joint_update_seconds(const Row& row) const {
  const int ranks = request_.recipe.sharding.ranks_per_group();
  const Network links = links_among(machine_.network, request_.recipe.sharding, Among::Group);
  if (row.kind == ActionKind::Recv) {
    const bool waits = row.bytes > 0 && machine_.update_memory > 0;
    return waits ? (ranks - 1) *
                       (static_cast<double>(row.bytes) / machine_.update_memory + exchange_seconds(links, 2, 0, 1))
                 : 0;
  }
  Seconds seconds = exchange_seconds(links, std::min(ranks, 2), row.bytes, 1);
  for (const ComputeTrace* compute : row.of_tensors) seconds += compute_seconds(*compute) / ranks;
  return seconds;
}

}  // namespace sluice::plan
