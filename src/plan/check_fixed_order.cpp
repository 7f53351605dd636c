// The fixed order of sums: every gradient of one micro-batch is made in memory of its own and added to the sum over
// ranks once, in the order of blocks from the last to the first and of micro-batches; each time all ranks' go in one
// after the other, so the order is that of one rank with all of them. Norms and updates read what is complete: the
// rank's part, or the whole that was gathered from the parts.
#include <map>

#include "plan/check_rules.h"

namespace sluice::plan {
namespace {

class FixedOrder {
 public:
  FixedOrder(const Plan& plan, CheckReport& report) : plan_(plan), report_(report) {}

  void run() {
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(plan_.actions.size()); ++i) {
      const Action& action = plan_.actions[i];
      if (is_move(action) || action.kind == ActionKind::Evict) continue;
      if (action.lane == Lane::Communication) {
        if (!action.slots.empty() && of_gradient(action.slots.front())) exchange(i);
        continue;
      }
      for (const Slot& slot : action.slots) {
        if (!of_gradient(slot)) continue;
        if (action.kind == ActionKind::Backward) {
          make(i, slot);
        } else {
          read(i, slot.buffer);
        }
      }
    }
    for (const auto& [buffer, made] : made_) report_.add(made.action, buffer, "is never added up");
    for (const auto& [chunk, sum] : sums_) {
      if (sum.block >= 0 && sum.next != plan_.num_micro_batches)
        report_.add(sum.last, -1, "is the last to add, but micro-batches are missing");
    }
  }

 private:
  struct Made {  // a gradient of one micro-batch that is in no sum yet
    std::int32_t action = -1;
  };
  struct Sum {  // of a chunk in this period, as far as the walk has come
    int repeat = 0, block = -1, next = 0;
    std::int32_t last = -1;
    bool read = false, gathered = false;
  };

  bool of_gradient(const Slot& slot) const { return plan_.buffers[slot.buffer].kind == BufferKind::Gradient; }

  void make(std::int32_t i, const Slot& slot) {
    if (plan_.buffers[slot.buffer].shard) report_.add(i, slot.buffer, "adds to the sum of all ranks");
    if (slot.access != Access::Write) report_.add(i, slot.buffer, "adds to the gradient of another micro-batch");
    if (!made_.insert({slot.buffer, {i}}).second) report_.add(i, slot.buffer, "is made again before it was added up");
  }

  void exchange(std::int32_t i) {
    const Action& action = plan_.actions[i];
    if (action.slots.size() != 2) {
      report_.add(i, -1, "expected two slots of a part and the whole");
    } else if (action.kind == ActionKind::ReduceScatter) {
      join(i);
    } else if (action.kind == ActionKind::AllGather) {
      Sum& sum = sums_[action.chunk];
      expect_complete(i, sum);
      sum.gathered = true;
    } else {
      report_.add(i, -1, "adds ranks up in another than the fixed order");
    }
  }

  void join(std::int32_t i) {
    const Action& action = plan_.actions[i];
    const Slot &from = action.slots[0], &to = action.slots[1];
    const auto made = made_.find(from.buffer);
    if (made == made_.end()) return report_.add(i, from.buffer, "is added up twice, or before it is made");
    const Action& backward = plan_.actions[made->second.action];
    made_.erase(made);
    Sum& sum = sums_[action.chunk];
    if (sum.block >= 0 && backward.repeat != sum.repeat) begin_again(i, sum);
    if (sum.read) report_.add(i, to.buffer, "adds to a sum that was read as if it were whole");
    if ((sum.block < 0) != (to.access == Access::Write))
      report_.add(i, to.buffer, sum.block < 0 ? "begins a sum without replacing what was" : "begins a sum again");
    if (backward.block != sum.block) {
      if (sum.block >= 0) expect_complete(i, sum);
      if (sum.block >= 0 && backward.block > sum.block) report_.add(i, to.buffer, "adds after an earlier block did");
      sum.next = 0;
    }
    if (backward.micro_batch != sum.next)
      report_.add(i, to.buffer, "adds out of order: expected micro-batch " + std::to_string(sum.next));
    sum = {backward.repeat, backward.block, backward.micro_batch + 1, i, sum.read, false};
  }

  void begin_again(std::int32_t i, Sum& sum) {
    expect_complete(i, sum);
    if (!sum.read) report_.add(i, -1, "begins again before the sum of the pass before was read");
    sum = {};
  }

  void read(std::int32_t i, BufferId buffer) {
    const bool whole = plan_.sharding.gradients();
    if (plan_.buffers[buffer].shard != whole) report_.add(i, buffer, "is not what ranks have summed");
    const auto found = sums_.find(plan_.buffers[buffer].chunk);
    if (found == sums_.end()) return;  // what the period before left
    expect_complete(i, found->second);
    if (!whole && !found->second.gathered) report_.add(i, buffer, "is read before its parts are gathered");
    found->second.read = true;
  }

  void expect_complete(std::int32_t i, const Sum& sum) {
    if (sum.next != plan_.num_micro_batches) report_.add(i, -1, "needs a sum that is not complete");
  }

  const Plan& plan_;
  CheckReport& report_;
  std::map<BufferId, Made> made_;
  std::map<int, Sum> sums_;  // by chunk
};

}  // namespace

void check_fixed_order(const Plan& plan, CheckReport& report) {
  if (plan.sharding.fixed_order) FixedOrder(plan, report).run();
}

}  // namespace sluice::plan
