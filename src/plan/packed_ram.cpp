#include "plan/packed_ram.h"

#include <algorithm>

#include "plan/buffers.h"

namespace sluice::plan {
namespace {

constexpr Bytes kUnlimited = Bytes{1} << 50;
constexpr Bytes kPage = 4096;

/// Bytes of either tier.
struct Shares {
  Bytes arena = 0, store = 0;
  [[nodiscard]] Bytes all() const { return arena + store; }
};

Machine divided(const Machine& machine, const Shares& shares) {
  Machine result = machine;
  Tier& host = result.tiers[0];
  // Two stored bytes are read and written once, and read again to write four.
  host.up = host.down = std::max(machine.compute.memory, 1e9) / 5;
  host.latency = 1e-5;
  host.shared_link = false;
  host.capacity = shares.arena;
  result.tiers.push_back({.kind = TierKind::Packed, .capacity = shares.store});
  return result;
}

bool may_pack(const StepTrace& trace, const Machine& machine, const PlanRequest& request) {
  if (machine.tiers.size() > 1 || request.recipe.sharding.is_parallel()) return false;
  const std::vector<Buffer> buffers = BufferTable(trace, request.recipe, {}).buffers();
  return std::ranges::any_of(buffers, [](const Buffer& buffer) { return buffer.stored != buffer.held; });
}

// With the least arena that works everything waits in the store.
Shares least_shares(const StepTrace& trace, const Machine& machine, const PlanRequest& request) {
  const PlanSet plans = smallest_plans(trace, divided(machine, {.arena = kUnlimited, .store = kUnlimited}), request);
  return {.arena = round_up(plans.arena_peak[0], kPage),
          .store = std::max(plans.arena_peak[1], plans.train.arena_peak[1])};
}

}  // namespace

PlanResult make_plan_in_ram(const StepTrace& trace, Machine& machine, const PlanRequest& request, Bytes beside) {
  PlanResult best = make_plan(trace, machine, request);
  if (best.plans || !may_pack(trace, machine, request)) return best;
  const Shares least = least_shares(trace, machine, request);
  const Bytes needed = least.all() + beside, spare = machine.tiers[0].capacity - needed;
  if (spare < 0) {
    best.needed = std::min(best.needed, needed);
    return best;
  }
  Machine host = machine;
  host.process_overhead += beside;
  for (const Bytes more : {spare, spare / 2}) {  // to the arena; what the store gets of it takes what is spilled
    const Bytes arena = (least.arena + more) / kPage * kPage;
    const Machine tried = divided(host, {.arena = arena, .store = least.store + (spare - more) / kPage * kPage});
    PlanResult result = make_plan(trace, tried, request);
    if (!result.plans) continue;
    if (best.plans && best.plans->predicted.total <= result.plans->predicted.total) continue;
    best = std::move(result);
    machine = tried;
  }
  return best;
}

Bytes smallest_in_ram(const StepTrace& trace, const Machine& machine, const PlanRequest& request, Bytes beside) {
  const Bytes alone = smallest_arena(trace, machine, request);
  if (!may_pack(trace, machine, request)) return alone;
  return std::min(alone, least_shares(trace, machine, request).all() + beside);
}

}  // namespace sluice::plan
