// Concurrency: lanes keep the list's order, dependencies tie lanes together. A vector clock per action says how far
// each lane is known to be done when it starts; every pair that touches the same bytes, one of them writing, must be
// ordered. Two periods stand end to end, so that a hazard across the period's end is one like any other.
#include <array>
#include <map>

#include "plan/check_rules.h"
#include "plan/describe.h"

namespace sluice::plan {
namespace {

constexpr BufferId kWorkspace = -1;

/// Positions (period * number of actions + index) up to which each lane is done; -1: nothing yet.
using Clock = std::array<std::int32_t, kNumLanes>;

constexpr Clock kNothing = [] {
  Clock clock{};
  clock.fill(-1);
  return clock;
}();

/// Who touched some bytes last. Reads since the write: the last of each lane speaks for the lane.
struct LastUse {
  std::int32_t write = -1;
  Clock reads = kNothing;
  BufferId buffer = kWorkspace;
};

class OrderCheck {
 public:
  OrderCheck(const Plan& plan, const Machine& machine, CheckReport& report)
      : plan_(plan),
        report_(report),
        disk_(disk_tier(machine)),
        num_actions_(static_cast<std::int32_t>(plan.actions.size())),
        num_periods_(plan.variant == Variant::Train ? 2 : 1),
        arenas_(machine.tiers.size()),
        stored_(plan.buffers.size()) {}

  void run() {
    clocks_.reserve(static_cast<std::size_t>(num_actions_) * num_periods_);
    Clock lane_ends = kNothing;
    for (std::int32_t position = 0; position < num_actions_ * num_periods_; ++position) {
      clocks_.push_back(start_clock(position, lane_ends));
      lane_ends[lane_of(position)] = position;
      touch_all(position);
    }
  }

 private:
  // What is known to be done when the action starts; transitive, because each wait brings the other's clock.
  Clock start_clock(std::int32_t position, const Clock& lane_ends) const {
    Clock clock = kNothing;
    const auto join = [&](std::int32_t done) {
      if (done < 0) return;
      for (int lane = 0; lane < kNumLanes; ++lane) clock[lane] = std::max(clock[lane], clocks_[done][lane]);
      clock[lane_of(done)] = std::max(clock[lane_of(done)], done);
    };
    join(lane_ends[lane_of(position)]);
    const std::int32_t period_start = position - position % num_actions_;
    for (const Dependency& wait : action_at(position).dependencies) {
      const std::int32_t done = period_start + wait.action - (wait.previous_period ? num_actions_ : 0);
      if (done < position) join(done);
    }
    return clock;
  }

  void touch_all(std::int32_t position) {
    const Action& action = action_at(position);
    if (action.workspace > 0) touch_range(position, 0, {0, action.workspace}, {kWorkspace, Access::Write});
    for (std::size_t s = 0; s < action.slots.size(); ++s) {
      const Slot& slot = action.slots[s];
      const Touch touch{slot.buffer, access_of(action, s)};
      if (slot.tier == disk_) {
        use(position, stored_[slot.buffer], touch);
      } else {
        touch_range(position, slot.tier, {slot.offset, slot.offset + plan_.buffers[slot.buffer].bytes}, touch);
      }
    }
    // The norm is one number beside the arenas: the reductions add to it, the updates read it.
    if (action.kind == ActionKind::ReduceNorm) use(position, norm_, {kWorkspace, Access::Write});
    if (action.kind == ActionKind::Update || exchanges_sums(action)) use(position, norm_, {kWorkspace, Access::Read});
  }

  struct Range {
    Bytes first, end;
  };
  struct Touch {
    BufferId buffer;
    Access access;
  };

  void touch_range(std::int32_t position, int tier, Range range, Touch touch) {
    auto& arena = arenas_[tier];
    split(arena, range.first);
    split(arena, range.end);
    auto from = arena.lower_bound(range.first);
    const auto to = arena.lower_bound(range.end);
    for (auto it = from; it != to; ++it) use(position, it->second, touch);
    if (touch.access == Access::Read) return;
    arena.erase(from, to);  // one writer now speaks for the whole range
    LastUse last;
    record(position, last, touch);
    arena.emplace(range.first, last);
  }

  // Segments cover the arena from 0 on, each to the next one's start; bytes never touched have an empty LastUse.
  static void split(std::map<Bytes, LastUse>& arena, Bytes at) {
    const auto next = arena.upper_bound(at);
    if (next == arena.begin()) {
      arena.emplace(at, LastUse{});
    } else if (const auto here = std::prev(next); here->first != at) {
      arena.emplace_hint(next, at, here->second);
    }
  }

  void use(std::int32_t position, LastUse& last, Touch touch) {
    expect_order(last.write, position, last.buffer, touch.buffer);
    if (touch.access != Access::Read) {
      for (const std::int32_t read : last.reads) expect_order(read, position, last.buffer, touch.buffer);
    }
    record(position, last, touch);
  }

  void record(std::int32_t position, LastUse& last, Touch touch) const {
    if (touch.access == Access::Read) {
      last.reads[lane_of(position)] = position;
    } else {
      last = {position, kNothing, touch.buffer};
    }
  }

  void expect_order(std::int32_t earlier, std::int32_t later, BufferId old_buffer, BufferId buffer) {
    if (earlier < 0 || earlier == later || clocks_[later][lane_of(earlier)] >= earlier) return;
    const bool same = buffer == old_buffer;
    const std::string crossing = earlier / num_actions_ != later / num_actions_ ? " of the period before" : "";
    const std::string reason = same ? "for data" : "for reuse of memory (" + text_of(old_buffer) + " was there)";
    report_.add(later % num_actions_, buffer,
                "dependency missing " + reason + ": it must wait for " + report_.action_text(earlier % num_actions_) +
                    crossing);
  }

  [[nodiscard]] std::string text_of(BufferId buffer) const {
    return buffer == kWorkspace ? "workspace" : describe_buffer(plan_, buffer);
  }
  [[nodiscard]] const Action& action_at(std::int32_t position) const { return plan_.actions[position % num_actions_]; }
  [[nodiscard]] std::size_t lane_of(std::int32_t position) const {
    return static_cast<std::size_t>(action_at(position).lane);
  }

  const Plan& plan_;
  CheckReport& report_;
  const int disk_;
  const std::int32_t num_actions_, num_periods_;
  std::vector<Clock> clocks_;                     // per position
  std::vector<std::map<Bytes, LastUse>> arenas_;  // per tier: segment start -> last use
  std::vector<LastUse> stored_;                   // per buffer: its place on the disk
  LastUse norm_;
};

}  // namespace

void check_order(const Plan& plan, const Machine& machine, CheckReport& report) {
  OrderCheck(plan, machine, report).run();
}

}  // namespace sluice::plan
