// Ranks: what computations read is whole and of the latest update, what norms and updates read is summed over all ranks
// exactly once (in groups: within the group, then across), only sums are sent in fewer bits than they have, of what is
// sent in one bit the rest is kept, and every decision that a norm makes is made from a norm that all ranks agree on.
// All ranks play one list, so an exchange may be skipped only for a reason that is the same everywhere.
#include <algorithm>
#include <map>
#include <set>

#include "plan/check_rules.h"

namespace sluice::plan {
namespace {

class RankCheck {
 public:
  RankCheck(const Plan& plan, CheckReport& report) : plan_(plan), report_(report) {}

  void run(bool skip_updates) {
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(plan_.actions.size()); ++i) {
      const Action& action = plan_.actions[i];
      if (skip_updates && action.skip == SkipWhen::NoUpdate) continue;
      if (is_exchange(action) && action.lane == Lane::Communication) {
        exchange(i);
      } else if (action.kind == ActionKind::AllReduce) {
        unagreed_.clear();
      } else if (action.kind == ActionKind::ReduceNorm) {
        read_gradient(i);
        unagreed_.insert(action.chunk);
      } else if (action.kind == ActionKind::Update) {
        update(i);
      } else if (exchanges_sums(action)) {
        check_decided(i);
      } else if (action.kind == ActionKind::Forward || action.kind == ActionKind::Backward) {
        compute(i);
      }
    }
    if (plan_.variant == Variant::Train && !unagreed_.empty())
      report_.add("the period ends with norms on which ranks have not agreed");
  }

  static bool is_exchange(const Action& action) {
    switch (action.kind) {
      case ActionKind::AllGather:
      case ActionKind::ReduceScatter:
      case ActionKind::AllReduce:
      case ActionKind::AllToAll:
      case ActionKind::Broadcast:
      case ActionKind::Send:
      case ActionKind::Recv:
        return true;
      default:
        return false;
    }
  }

 private:
  enum class Summed { Own, Group, All };

  struct State {  // of a chunk
    int version = 0, gathered = -1;
    bool partly_updated = false;  // of weights that every rank keeps whole
    bool adding = false;
    Summed summed = Summed::All;
    bool in_parts = false;  // of the sum each rank knows its own part
  };

  const Buffer& buffer_of(const Slot& slot) const { return plan_.buffers[slot.buffer]; }

  void exchange(std::int32_t i) {
    const Action& action = plan_.actions[i];
    if (action.skip != SkipWhen::Never && action.skip != SkipWhen::NoUpdate)
      report_.add(i, -1, "an exchange is skipped for a reason that ranks may not share");
    const bool keeps = action.wire == NumberFormat::OneBit;
    const std::size_t beside = keeps ? 2 : 0;  // what is sent, what is kept
    if (action.slots.size() <= beside || action.slots.size() > 2 + beside) {
      report_.add(i, -1, "expected one slot, or two of a part and the whole");
      return;
    }
    if (keeps) check_residual(i);
    if (action.slots.size() == 2 + beside) check_sizes(i);
    if (plan_.sharding.fixed_order && buffer_of(action.slots[0]).kind == BufferKind::Gradient) return;
    if ((action.among == Among::All) == plan_.sharding.is_grouped())
      report_.add(i, -1, "is among other ranks than those that divide the state, or hold the same part of it");
    const bool is_weight = buffer_of(action.slots[0]).kind == BufferKind::Weight;
    if (action.wire != NumberFormat::Fp32 && (is_weight || action.slots[0].access != Access::ReadWrite))
      report_.add(i, action.slots[0].buffer, "is narrowed, though it is still needed in fp32");
    State& state = states_[action.chunk];
    if (action.kind != ActionKind::AllGather) return sum(i, state);
    if (is_weight) {
      if (action.among == Among::Replicas) report_.add(i, -1, "gathers parts from ranks that have the same");
      state.gathered = state.version;
      state.partly_updated = false;
      return;
    }
    if (state.summed != Summed::All)
      report_.add(i, action.slots[0].buffer, "is gathered before all ranks' sum is there");
    state.in_parts = false;
  }

  void sum(std::int32_t i, State& state) {
    const Action& action = plan_.actions[i];
    const BufferId gradient = action.slots[0].buffer;
    if (action.among == Among::Replicas) {
      if (state.summed != Summed::Group)
        report_.add(i, gradient, "is summed across groups twice, or before its group has summed it");
      state.summed = Summed::All;
      return;
    }
    if (state.summed != Summed::Own) report_.add(i, gradient, "is summed over ranks twice, or before it is made");
    state.summed = action.among == Among::Group ? Summed::Group : Summed::All;
    state.in_parts = action.kind == ActionKind::ReduceScatter;
    state.adding = false;
  }

  void check_sizes(std::int32_t i) {
    const Buffer &a = buffer_of(plan_.actions[i].slots[0]), &b = buffer_of(plan_.actions[i].slots[1]);
    const Buffer &part = a.shard ? a : b, &whole = a.shard ? b : a;
    if (!part.shard || whole.shard || part.num_elements * plan_.sharding.ranks_per_group() != whole.num_elements)
      report_.add(i, -1, "the ranks' parts do not make the whole");
  }

  void check_residual(std::int32_t i) {
    const Action& action = plan_.actions[i];
    const Slot &kept = action.slots.back(), &sent = action.slots[action.slots.size() - 2];
    const Buffer &residual = buffer_of(kept), &signs = buffer_of(sent), &whole = buffer_of(action.slots[0]);
    const bool fits = residual.chunk == whole.chunk && residual.num_elements == whole.num_elements && !residual.shard;
    if (residual.kind != BufferKind::Residual || !residual.persistent || !fits || kept.access != Access::ReadWrite)
      report_.add(i, kept.buffer, "does not keep what is not sent of the gradient");
    const Bytes copies = action.kind == ActionKind::AllReduce ? plan_.sharding.num_ranks : 2;
    if (signs.kind != BufferKind::Signs || sent.access != Access::Write ||
        signs.bytes < copies * stored_bytes(NumberFormat::OneBit, whole.num_elements))
      report_.add(i, sent.buffer, "has no room for what ranks send");
    if (action.kind == ActionKind::AllGather || action.among != Among::All)
      report_.add(i, -1, "sends one bit of each number where no gradients of all ranks are summed");
  }

  void compute(std::int32_t i) {
    for (const Slot& slot : plan_.actions[i].slots) {
      const Buffer& buffer = buffer_of(slot);
      State& state = states_[buffer.chunk];
      if (buffer.kind == BufferKind::Gathered && state.gathered != state.version)
        report_.add(i, slot.buffer, "was not gathered since the last update");
      if (buffer.kind == BufferKind::Weight && (buffer.shard || state.partly_updated))
        report_.add(i, slot.buffer, "computes with weights of which only this rank's part is known");
      if (buffer.kind != BufferKind::Gradient || plan_.sharding.fixed_order) continue;
      if (buffer.shard) report_.add(i, slot.buffer, "adds to the sum of all ranks");
      if (!state.adding && slot.access != Access::Write)
        report_.add(i, slot.buffer, "adds to a sum that ranks have exchanged");
      state.adding = true;
      state.summed = Summed::Own;
    }
  }

  void read_gradient(std::int32_t i) {
    if (plan_.sharding.fixed_order) return;  // check_fixed_order.cpp
    for (const Slot& slot : plan_.actions[i].slots) {
      const Buffer& buffer = buffer_of(slot);
      if (buffer.kind != BufferKind::Gradient) continue;
      const State& state = states_[buffer.chunk];
      if (state.summed != Summed::All) report_.add(i, slot.buffer, "is read before ranks have summed it");
      if (state.in_parts && !plan_.sharding.states())
        report_.add(i, slot.buffer, "is read whole, though only this rank's part is the sum");
      if (buffer.shard != plan_.sharding.gradients()) report_.add(i, slot.buffer, "is not what ranks have summed");
    }
  }

  void update(std::int32_t i) {
    const Action& action = plan_.actions[i];
    read_gradient(i);
    check_decided(i);
    for (const Slot& slot : action.slots) {
      if (buffer_of(slot).kind != BufferKind::Weight || slot.access == Access::Read) continue;
      State& state = states_[action.chunk];
      ++state.version;
      state.partly_updated = plan_.sharding.states() && !plan_.sharding.weights();
    }
  }

  void check_decided(std::int32_t i) {
    const Action& action = plan_.actions[i];
    if (action.skip != SkipWhen::BlockNotFinite && action.skip != SkipWhen::StepNotFinite) return;
    if (unagreed_.contains(action.chunk) || (action.skip == SkipWhen::StepNotFinite && !unagreed_.empty()))
      report_.add(i, -1, "waits for a norm on which ranks have not agreed");
  }

  const Plan& plan_;
  CheckReport& report_;
  std::map<int, State> states_;  // by chunk
  std::set<int> unagreed_;       // chunks
};

}  // namespace

void check_ranks(const Plan& plan, CheckReport& report) {
  if (!plan.sharding.is_parallel()) {
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(plan.actions.size()); ++i) {
      if (RankCheck::is_exchange(plan.actions[i])) report.add(i, -1, "an exchange of ranks in a plan of one");
    }
    return;
  }
  const int num_periods = plan.variant == Variant::Train ? 2 : 1;
  for (const bool skip : {false, true}) {
    RankCheck check(plan, report);
    for (int period = 0; period < num_periods; ++period) check.run(skip && period == 0);
  }
}

}  // namespace sluice::plan
