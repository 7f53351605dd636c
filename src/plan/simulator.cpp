// Event by event: each lane runs its queue in list order, an action starts when its dependencies are done. Memory needs
// no simulation here: the plan's dependencies already say when it is free.
#include "plan/simulator.h"

#include <algorithm>
#include <array>
#include <limits>
#include <span>
#include <utility>

#include "base/check.h"
#include "plan/lane_rates.h"

namespace sluice::plan {
namespace {

constexpr Seconds kNever = std::numeric_limits<Seconds>::infinity();

/// Spans of `num_periods` periods on lanes that are idle at time 0; positions are period * actions + index.
class EventLoop {
 public:
  EventLoop(const Plan& plan, const Machine& machine, int num_periods)
      : plan_(plan),
        num_actions_(static_cast<std::int32_t>(plan.actions.size())),
        rates_(machine),
        spans_(static_cast<std::size_t>(num_actions_) * num_periods, Span{-1, kNever, kNever}) {
    for (std::int32_t position = 0; position < static_cast<std::int32_t>(spans_.size()); ++position) {
      lanes_[static_cast<std::size_t>(action_at(position).lane)].queue.push_back(position);
    }
  }

  std::vector<Span> run() {
    while (true) {
      while (start_ready()) {
      }
      Seconds next = kNever;
      for (const LaneState& lane : lanes_) next = std::min(next, lane.running ? lane.finish : kNever);
      if (next == kNever) break;
      now_ = next;
      for (LaneState& lane : lanes_) {
        if (lane.running && lane.finish <= now_) finish(lane);
      }
      share_links();
    }
    for (const LaneState& lane : lanes_) {
      SLUICE_CHECK(lane.next == lane.queue.size(), "the plan's dependencies deadlock");
    }
    return std::move(spans_);
  }

 private:
  struct LaneState {
    std::vector<std::int32_t> queue;  // positions
    std::size_t next = 0;             // first that has not finished
    bool running = false;
    Seconds remaining = 0, since = 0, finish = 0;  // seconds of work alone, left at `since`
    double rate = 1;
  };

  bool start_ready() {
    bool started = false;
    for (LaneState& lane : lanes_) {
      if (lane.running || lane.next == lane.queue.size() || !is_ready(lane.queue[lane.next])) continue;
      const std::int32_t position = lane.queue[lane.next];
      spans_[position].action = position % num_actions_;
      spans_[position].start = now_;
      lane.running = started = true;
      lane.remaining = std::max(0.0, action_at(position).duration);
      lane.since = now_;
      lane.rate = 1;
      lane.finish = now_ + lane.remaining;
    }
    if (started) share_links();
    return started;
  }

  void finish(LaneState& lane) {
    spans_[lane.queue[lane.next]].end = now_;
    lane.running = false;
    ++lane.next;
  }

  void share_links() {
    std::array<bool, kNumLanes> running{};
    for (int index = 0; index < kNumLanes; ++index) running[index] = lanes_[index].running;
    for (int index = 0; index < kNumLanes; ++index) {
      LaneState& lane = lanes_[index];
      if (!lane.running) continue;
      const double rate = rates_.share(static_cast<Lane>(index), running);
      if (lane.rate == rate) continue;
      lane.remaining = std::max(0.0, lane.remaining - (now_ - lane.since) * lane.rate);
      lane.since = now_;
      lane.rate = rate;
      lane.finish = now_ + lane.remaining / rate;
    }
  }

  [[nodiscard]] bool is_ready(std::int32_t position) const {
    const std::int32_t period_start = position - position % num_actions_;
    return std::ranges::all_of(action_at(position).dependencies, [&](const Dependency& wait) {
      const std::int32_t other = period_start + wait.action - (wait.previous_period ? num_actions_ : 0);
      return other < 0 || spans_[other].end <= now_;
    });
  }

  [[nodiscard]] const Action& action_at(std::int32_t position) const { return plan_.actions[position % num_actions_]; }

  const Plan& plan_;
  const std::int32_t num_actions_;
  const LaneRates rates_;
  std::vector<Span> spans_;
  std::array<LaneState, kNumLanes> lanes_;
  Seconds now_ = 0;
};

// The compute lane's last end; without computations, that of all lanes.
Seconds end_of(const Plan& plan, std::span<const Span> period, bool all_lanes) {
  Seconds compute = -1, any = 0;
  for (const Span& span : period) {
    any = std::max(any, span.end);
    if (plan.actions[span.action].lane == Lane::Compute) compute = std::max(compute, span.end);
  }
  return all_lanes || compute < 0 ? any : compute;
}

void add_totals(const Plan& plan, const Machine& machine, Timeline& timeline) {
  const bool disk = machine.tiers.back().kind == TierKind::Disk;
  for (const Span& span : timeline.spans) {
    const Action& action = plan.actions[span.action];
    if (action.lane == Lane::Compute) timeline.compute += span.end - span.start;
    if (disk && action.lane == Lane::DiskRead) timeline.disk_read += action.bytes;
    if (disk && action.lane == Lane::DiskWrite) timeline.disk_written += action.bytes;
  }
  timeline.stall = std::max(0.0, timeline.total - timeline.compute);
  timeline.tier_peak.assign(machine.tiers.size(), 0);
  for (const Residence& stay : plan.residences) {
    Bytes& peak = timeline.tier_peak[stay.tier];
    peak = std::max(peak, stay.offset + plan.buffers[stay.buffer].bytes);
  }
  for (const Action& action : plan.actions) {
    timeline.tier_peak[0] = std::max(timeline.tier_peak[0], action.workspace);
  }
  if (is_store(machine.tiers.back().kind)) timeline.tier_peak.back() = plan.arena_peak.back();
}

}  // namespace

Seconds lower_bound(const Plan& plan, const Machine& machine) {
  std::array<Seconds, kNumLanes> work{};
  for (const Action& action : plan.actions)
    work[static_cast<std::size_t>(action.lane)] += std::max(0.0, action.duration);
  return LaneRates(machine).least_time(work);
}

Timeline simulate(const Plan& plan, const Machine& machine) {
  SLUICE_CHECK(!machine.tiers.empty() && plan.arena_peak.size() == machine.tiers.size());
  const bool repeats = plan.variant == Variant::Train;
  const int num_periods = repeats ? 3 : 1;
  const std::vector<Span> all = EventLoop(plan, machine, num_periods).run();
  const auto period = [&](std::size_t index) {
    return std::span<const Span>(all).subspan(index * plan.actions.size(), plan.actions.size());
  };

  Timeline timeline;
  const auto last = period(num_periods - 1);
  const Seconds start = repeats ? end_of(plan, period(num_periods - 2), false) : 0;
  timeline.spans.assign(last.begin(), last.end());
  for (Span& span : timeline.spans) {
    span.start -= start;
    span.end -= start;
  }
  std::ranges::stable_sort(timeline.spans, {}, &Span::start);
  timeline.total = std::max(end_of(plan, last, !repeats) - start, repeats ? lower_bound(plan, machine) : 0);
  add_totals(plan, machine, timeline);
  return timeline;
}

}  // namespace sluice::plan
