#include "plan/sharding.h"

#include <algorithm>

#include "plan/planner.h"

namespace sluice::plan {
namespace {

/// FNV-1a over whole numbers.
class Digest {
 public:
  void add(std::int64_t value) {
    for (int byte = 0; byte < 8; ++byte) {
      hash_ ^= static_cast<std::uint64_t>(value) >> (8 * byte) & 0xFFU;
      hash_ *= 0x100000001B3U;
    }
  }
  template <typename... Values>
  void add_all(Values... values) {
    (add(static_cast<std::int64_t>(values)), ...);
  }
  [[nodiscard]] std::uint64_t value() const { return hash_; }

 private:
  std::uint64_t hash_ = 0xCBF29CE484222325U;
};

void add(Digest& digest, const Plan& plan) {
  digest.add_all(plan.variant, plan.sharding.num_ranks, plan.sharding.stage, plan.sharding.group_size,
                 plan.sharding.fixed_order, plan.num_micro_batches, plan.group_size);
  for (const Buffer& b : plan.buffers) {
    digest.add_all(b.kind, b.chunk, b.moment, b.slice, b.num_elements, b.boundary, b.micro_batch, b.block, b.bytes,
                   b.held, b.stored, b.persistent, b.shard);
  }
  for (const Action& a : plan.actions) {
    digest.add_all(a.kind, a.lane, a.skip, a.block, a.micro_batch, a.segment, a.chunk, a.slice, a.pass, a.repeat,
                   a.among, a.wire);
    for (const Slot& slot : a.slots) digest.add_all(slot.buffer, slot.tier, slot.offset, slot.access);
    for (const Dependency& wait : a.dependencies) digest.add_all(wait.action, wait.previous_period);
  }
}

template <typename Visit>
void for_each_plan(auto& plans, Visit visit) {
  visit(plans.train);
  visit(plans.flush);
  if (plans.evaluate) visit(*plans.evaluate);
  for (auto& pass : plans.generate) visit(pass);
}

}  // namespace

const char* name(Among among) {
  switch (among) {
    case Among::All:
      return "all";
    case Among::Group:
      return "group";
    case Among::Replicas:
      return "replicas";
  }
  return "?";
}

void pad_for_shards(StepTrace& trace, const Sharding& sharding) {
  if (!sharding.states() && !sharding.is_grouped() && !sharding.fixed_order) return;
  for (Chunk& chunk : trace.chunks)
    chunk.num_elements = round_up(chunk.num_elements, kShardGranularity * sharding.ranks_per_group());
}

void take_shard(PlanSet& plans, int rank) {
  for_each_plan(plans, [&](Plan& plan) {
    plan.rank = rank % plan.sharding.ranks_per_group();
    std::vector<std::int64_t> elements;  // of each chunk's part
    const auto part = [&](const Buffer& buffer) -> std::int64_t& {
      elements.resize(std::max<std::size_t>(elements.size(), buffer.chunk + 1), 0);
      return elements[buffer.chunk];
    };
    for (const Buffer& buffer : plan.buffers) {
      if (buffer.kind == BufferKind::Weight || buffer.kind == BufferKind::Gathered)
        part(buffer) = std::max(part(buffer), plan.sharding.elements_per_rank(buffer.num_elements));
    }
    for (Buffer& buffer : plan.buffers) {
      if (buffer.shard) buffer.first_element += plan.rank * (buffer.slice < 0 ? buffer.num_elements : part(buffer));
    }
  });
}

ElementRange own_range(const Plan& plan, std::int64_t num_elements) {
  const std::int64_t count = plan.sharding.elements_per_rank(num_elements);
  return {plan.sharding.states() ? plan.rank * count : 0, count};
}

ElementRange slice_range(const Plan& plan, int chunk, int slice, std::int64_t num_elements) {
  const ElementRange own = own_range(plan, num_elements);
  if (const auto c = static_cast<std::size_t>(chunk); c < plan.slice_starts.size() && !plan.slice_starts[c].empty()) {
    const std::vector<std::int64_t>& starts = plan.slice_starts[c];
    const auto start = [&](int s) { return s < static_cast<int>(starts.size()) ? starts[s] : own.count; };
    return {start(slice), start(slice + 1) - start(slice)};
  }
  const std::int64_t first = std::min(slice * plan.slice_elements[chunk], own.count);
  return {own.first + first, std::min(plan.slice_elements[chunk], own.count - first)};
}

Bytes bytes_sent(const Plan& plan) {
  Bytes total = 0;
  for (const Action& action : plan.actions) total += action.lane == Lane::Communication ? action.bytes : 0;
  return total;
}

Bytes bytes_sent(const Plan& plan, Among among) {
  Bytes total = 0;
  for (const Action& action : plan.actions)
    total += action.lane == Lane::Communication && action.among == among ? action.bytes : 0;
  return total;
}

std::uint64_t digest(const PlanSet& plans) {
  Digest digest;
  for_each_plan(plans, [&](const Plan& plan) { add(digest, plan); });
  return digest.value();
}

}  // namespace sluice::plan
