// Order of sums: a floating point sum depends on its order, so every plan of a step adds to a gradient in
// one order: its users from the last block to the first, and for each of them micro-batch 0, 1, ...; only then is it
// read. What order the blocks run in, and which micro-batches go together, is free. A step that computes its gradients
// twice does so in the same order both times. The segments of one computation add to each other's results too: for each
// micro-batch they come in their order.
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "plan/check_rules.h"

namespace sluice::plan {
namespace {

class SumOrder {
 public:
  SumOrder(const Plan& plan, CheckReport& report) : plan_(plan), report_(report), sums_(plan.buffers.size()) {}

  void run() {
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(plan_.actions.size()); ++i) {
      if (plan_.actions[i].segment >= 0) check_segment(i);
      if (plan_.sharding.fixed_order) continue;  // check_fixed_order.cpp
      for (const Slot& slot : plan_.actions[i].slots) {
        if (plan_.buffers[slot.buffer].kind != BufferKind::Gradient) continue;
        const ActionKind kind = plan_.actions[i].kind;
        if (kind == ActionKind::Backward) {
          add(i, slot);
        } else if (!is_move(plan_.actions[i]) && kind != ActionKind::Evict) {
          read(i, slot.buffer);
        }
      }
    }
    for (std::size_t b = 0; b < sums_.size(); ++b) {
      const Sum& sum = sums_[b];
      if (sum.block >= 0 && sum.next != plan_.num_micro_batches) incomplete(sum.last, static_cast<BufferId>(b));
    }
  }

 private:
  struct Sum {  // of this period, as far as the walk has come
    int repeat = 0, block = -1, next = 0;
    std::int32_t last = -1;
    bool read = false;
  };

  void add(std::int32_t i, const Slot& slot) {
    const Action& action = plan_.actions[i];
    Sum& sum = sums_[slot.buffer];
    if (sum.block >= 0 && action.repeat != sum.repeat) begin_again(i, slot.buffer);
    if (sum.block < 0) sum.repeat = action.repeat;
    if (sum.read) report_.add(i, slot.buffer, "adds to a sum that was read as if it were whole");
    if (slot.access == Access::Write) {
      if (sum.block >= 0) report_.add(i, slot.buffer, "zeroes a sum that has begun");
    } else if (sum.block < 0) {
      report_.add(i, slot.buffer, "begins a sum without zeroing it");
    }
    if (action.block != sum.block) {
      if (sum.block >= 0 && sum.next != plan_.num_micro_batches) incomplete(sum.last, slot.buffer);
      if (sum.block >= 0 && action.block > sum.block) report_.add(i, slot.buffer, "adds after an earlier block did");
      sum.block = action.block;
      sum.next = 0;
    }
    if (action.micro_batch != sum.next)
      report_.add(i, slot.buffer, "adds out of order: expected micro-batch " + std::to_string(sum.next));
    sum.next = action.micro_batch + 1;
    sum.last = i;
  }

  // The first pass ends with its sum whole and measured.
  void begin_again(std::int32_t i, BufferId buffer) {
    Sum& sum = sums_[buffer];
    if (sum.next != plan_.num_micro_batches) incomplete(sum.last, buffer);
    if (!sum.read) report_.add(i, buffer, "begins again before the sum of the pass before was read");
    if (plan_.actions[i].repeat < sum.repeat) report_.add(i, buffer, "adds in an earlier pass after a later one");
    sum = {};
  }

  void check_segment(std::int32_t i) {
    const Action& action = plan_.actions[i];
    int& next = next_segment_[{action.kind, action.repeat, action.block, action.micro_batch}];
    if (action.segment != next) report_.add(i, -1, "runs out of order: expected segment " + std::to_string(next));
    next = action.segment + 1;
  }

  // An update before the backward applies the sum of the period before.
  void read(std::int32_t i, BufferId buffer) {
    Sum& sum = sums_[buffer];
    if (sum.block < 0) return;
    if (sum.next != plan_.num_micro_batches) report_.add(i, buffer, "reads a sum that is not complete");
    sum.read = true;
  }

  void incomplete(std::int32_t i, BufferId buffer) {
    report_.add(i, buffer, "is the block's last to add, but micro-batches are missing");
  }

  const Plan& plan_;
  CheckReport& report_;
  std::vector<Sum> sums_;                                              // per buffer
  std::map<std::tuple<ActionKind, int, int, int>, int> next_segment_;  // per pass, block and micro-batch
};

}  // namespace

void check_sums(const Plan& plan, CheckReport& report) { SumOrder(plan, report).run(); }

}  // namespace sluice::plan
