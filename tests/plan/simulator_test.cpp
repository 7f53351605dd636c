// Timelines against ones computed by hand, and properties of random plans.
#include "plan/simulator.h"

#include <gtest/gtest.h>

#include <random>

#include "base/error.h"
#include "plan/handmade.h"

namespace sluice::plan {
namespace {

using namespace handmade;

Plan plan_of(std::vector<Action> actions, Variant variant = Variant::Train) {
  Plan plan;
  plan.variant = variant;
  plan.buffers = {buffer(BufferKind::Weight, 0), buffer(BufferKind::Weight, 1)};
  plan.actions = std::move(actions);
  plan.arena_peak = {8 * kPage, 2 * kPage};
  return plan;
}

Action work(Seconds seconds, std::vector<Dependency> dependencies = {}) {
  Action action = compute(ActionKind::Forward, 0, 1, {}, std::move(dependencies));
  action.duration = seconds;
  return action;
}
Action read_disk(Seconds seconds, std::vector<Dependency> dependencies = {}) {
  Action action = fetch(on_disk(0), at(0, 1), std::move(dependencies));
  action.duration = seconds;
  return action;
}
Action write_disk(Seconds seconds, std::vector<Dependency> dependencies = {}) {
  Action action = write_back(at(0, 1), on_disk(0), std::move(dependencies));
  action.duration = seconds;
  return action;
}

Span span_of(const Timeline& timeline, std::int32_t action) {
  for (const Span& span : timeline.spans) {
    if (span.action == action) return span;
  }
  ADD_FAILURE() << "no span of action " << action;
  return {};
}

void expect_span(const Timeline& timeline, std::int32_t action, Seconds start, Seconds end) {
  const Span span = span_of(timeline, action);
  EXPECT_NEAR(span.start, start, 1e-9) << "action " << action;
  EXPECT_NEAR(span.end, end, 1e-9) << "action " << action;
}

TEST(Simulator, OverlapsLanesThatDoNotWait) {
  const Plan plan = plan_of({work(3), read_disk(2), work(1, {after(1)})}, Variant::Evaluate);
  const Timeline timeline = simulate(plan, host_and_disk());
  expect_span(timeline, 0, 0, 3);
  expect_span(timeline, 1, 0, 2);
  expect_span(timeline, 2, 3, 4);
  EXPECT_DOUBLE_EQ(timeline.total, 4);
  EXPECT_DOUBLE_EQ(timeline.compute, 4);
  EXPECT_DOUBLE_EQ(timeline.stall, 0);
  EXPECT_EQ(timeline.disk_read, kPage);
  EXPECT_EQ(timeline.disk_written, 0);
}

TEST(Simulator, StallsWhereComputeWaitsForTheDisk) {
  const Plan plan = plan_of({work(1), read_disk(5), work(1, {after(1)})}, Variant::Evaluate);
  const Timeline timeline = simulate(plan, host_and_disk());
  expect_span(timeline, 2, 5, 6);
  EXPECT_DOUBLE_EQ(timeline.total, 6);
  EXPECT_DOUBLE_EQ(timeline.compute, 2);
  EXPECT_DOUBLE_EQ(timeline.stall, 4);
}

TEST(Simulator, LetsReadsAndWritesShareADisk) {
  // Write 4 s of work from 0, read 1 s of work from 2: half speed each until the read is done at 4, then the last
  // second.
  const Plan plan = plan_of({write_disk(4), work(2), read_disk(1, {after(1)})}, Variant::Flush);
  const Timeline timeline = simulate(plan, host_and_disk());
  expect_span(timeline, 0, 0, 5);
  expect_span(timeline, 2, 2, 4);
  EXPECT_DOUBLE_EQ(timeline.total, 5);
}

TEST(Simulator, SharesADiskAsItWasMeasured) {
  // Beside each other the write has 3/4 of its speed and the read 1/2: until the read of 1 s is done at 2 + 2, the
  // write does 2 + 1.5, and half a second is left.
  Machine machine = host_and_disk();
  machine.tiers[0].down_both = 0.75 * machine.tiers[0].down;
  machine.tiers[0].up_both = 0.5 * machine.tiers[0].up;
  const Plan plan = plan_of({write_disk(4), work(2), read_disk(1, {after(1)})}, Variant::Flush);
  const Timeline timeline = simulate(plan, machine);
  expect_span(timeline, 2, 2, 4);
  expect_span(timeline, 0, 0, 4.5);
  EXPECT_DOUBLE_EQ(lower_bound(plan, machine), 4.5);
}

TEST(Simulator, SlowsComputingWhileTheDiskIsBusyAndTheDiskWhileComputing) {
  // Read of 2 s at 0.8 beside computing: done at 2.5. Computing of 3 s at 0.6 until then: 1.5 s are left.
  Machine machine = host_and_disk();
  machine.contention = {.compute_beside_read = 0.6, .read_beside_compute = 0.8};
  const Timeline timeline = simulate(plan_of({work(3), read_disk(2)}, Variant::Evaluate), machine);
  expect_span(timeline, 1, 0, 2.5);
  expect_span(timeline, 0, 0, 4);
  EXPECT_DOUBLE_EQ(timeline.compute, 4);
}

TEST(Simulator, SlowsComputingMostWhileBothDirectionsAreBusy) {
  // Both run from 0: computing at 1/2 until the write ends at 2, at 3/4 until the read ends at 6, then alone.
  Machine machine = host_and_disk();
  machine.tiers[0].shared_link = false;
  machine.contention = {.compute_beside_read = 0.75, .compute_beside_write = 0.9, .compute_beside_both = 0.5};
  const Timeline timeline = simulate(plan_of({work(10), write_disk(2), read_disk(6)}, Variant::Evaluate), machine);
  expect_span(timeline, 0, 0, 12);
}

TEST(Simulator, GivesEachDirectionItsOwnLinkWhereItHasOne) {
  Machine machine = host_and_disk();
  machine.tiers[0].shared_link = false;
  const Timeline timeline =
      simulate(plan_of({write_disk(4), work(2), read_disk(1, {after(1)})}, Variant::Flush), machine);
  expect_span(timeline, 0, 0, 4);
  expect_span(timeline, 2, 2, 3);
  EXPECT_DOUBLE_EQ(timeline.total, 4);
}

TEST(Simulator, RunsAPrefetchUnderThePeriodBefore) {
  // Steady state: the fetch of 2 s for the next period runs under the second computation of 3 s.
  const Plan plan = plan_of({work(1, {after_previous(1)}), read_disk(2, {after(0)}), work(3)});
  const Timeline timeline = simulate(plan, host_and_disk());
  expect_span(timeline, 0, 0, 1);
  expect_span(timeline, 1, 1, 3);
  expect_span(timeline, 2, 1, 4);
  EXPECT_DOUBLE_EQ(timeline.total, 4);
  EXPECT_DOUBLE_EQ(timeline.stall, 0);
}

TEST(Simulator, CountsTheWaitForThePeriodBefore) {
  // The write takes 3 s, and the next period's first computation waits for it.
  const Plan plan = plan_of({work(1, {after_previous(1)}), write_disk(3, {after(0)})});
  const Timeline timeline = simulate(plan, host_and_disk());
  expect_span(timeline, 0, 3, 4);
  EXPECT_DOUBLE_EQ(timeline.total, 4);
  EXPECT_DOUBLE_EQ(timeline.stall, 3);
}

TEST(Simulator, StartsFetchesBelowZeroWhenTheyRanUnderThePeriodBefore) {
  const Plan plan = plan_of({read_disk(1, {after_previous(1)}), work(1, {after(0)}), work(4)});
  const Timeline timeline = simulate(plan, host_and_disk());
  expect_span(timeline, 0, -4, -3);
  expect_span(timeline, 1, 0, 1);
  EXPECT_DOUBLE_EQ(timeline.total, 5);
  EXPECT_EQ(timeline.spans.front().action, 0);
}

TEST(Simulator, ChargesALaneThatFallsBehind) {
  const Plan plan = plan_of({work(1), write_disk(3, {after(0)})});
  const Timeline timeline = simulate(plan, host_and_disk());
  EXPECT_DOUBLE_EQ(timeline.total, 3);
  EXPECT_DOUBLE_EQ(timeline.stall, 2);
}

TEST(Simulator, RunsFlushesToTheLastWrite) {
  const Timeline timeline = simulate(plan_of({work(1), write_disk(3, {after(0)})}, Variant::Flush), host_and_disk());
  EXPECT_DOUBLE_EQ(timeline.total, 4);
}

TEST(Simulator, TakesPeaksFromWhatArenasHold) {
  const Timeline timeline = simulate(training_plan(), host_and_disk());
  EXPECT_EQ(timeline.tier_peak, (std::vector<Bytes>{9 * kPage, 3 * kPage}));
  EXPECT_EQ(timeline.disk_read, 2 * kPage);
  EXPECT_EQ(timeline.disk_written, 2 * kPage);
}

TEST(Simulator, ThrowsOnDeadlock) {
  EXPECT_THROW((void)simulate(plan_of({work(1, {after(1)}), read_disk(1, {after(0)})}), host_and_disk()),
               InternalError);
}

TEST(Simulator, HandlesAnEmptyPlan) { EXPECT_DOUBLE_EQ(simulate(plan_of({}), host_and_disk()).total, 0); }

TEST(LowerBound, IsTheBusiestLaneOrLink) {
  const Plan plan = plan_of({work(5), read_disk(3), write_disk(4)});
  EXPECT_DOUBLE_EQ(lower_bound(plan, host_and_disk()), 7);
  Machine machine = host_and_disk();
  machine.tiers[0].shared_link = false;
  EXPECT_DOUBLE_EQ(lower_bound(plan, machine), 5);
}

TEST(LowerBound, CountsWhatTheDiskTakesFromComputing) {
  Machine machine = host_and_disk();
  machine.contention = {.compute_beside_read = 0.5, .compute_beside_write = 0.8, .compute_beside_both = 0.4};
  EXPECT_DOUBLE_EQ(lower_bound(plan_of({work(9), read_disk(3), write_disk(4)}), machine), 9 + 0.2 * 4);
}

Plan random_plan(std::mt19937& random, Variant variant) {
  const auto below = [&](int bound) { return static_cast<int>(random() % static_cast<unsigned>(bound)); };
  std::vector<Action> actions;
  const int count = 1 + below(40);
  for (int i = 0; i < count; ++i) {
    std::vector<Dependency> waits;
    for (int w = below(3); w > 0 && i > 0; --w) waits.push_back(after(below(i)));
    if (below(3) == 0) waits.push_back(after_previous(below(count)));
    const Seconds seconds = below(8) * 0.37;
    switch (below(3)) {
      case 0:
        actions.push_back(work(seconds, waits));
        break;
      case 1:
        actions.push_back(read_disk(seconds, waits));
        break;
      default:
        actions.push_back(write_disk(seconds, waits));
    }
  }
  return plan_of(actions, variant);
}

TEST(Simulator, NeverBeatsTheLowerBound) {
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    const Plan plan = random_plan(random, i % 2 == 0 ? Variant::Train : Variant::Flush);
    Machine machine = host_and_disk();
    const auto share = [&] { return 0.2 + static_cast<double>(random() % 9) * 0.1; };
    machine.tiers[0].shared_link = random() % 4 != 0;
    machine.tiers[0].down_both = share() * machine.tiers[0].down;
    machine.tiers[0].up_both = share() * machine.tiers[0].up;
    machine.contention = {share(), share(), share(), share(), share()};
    const Timeline timeline = simulate(plan, machine);
    EXPECT_GE(timeline.total, lower_bound(plan, machine) - 1e-9);
    EXPECT_NEAR(timeline.total, timeline.compute + timeline.stall, 1e-9);
  }
}

TEST(Simulator, KeepsLaneOrderAndDependenciesOnRandomPlans) {
  std::mt19937 random(2);
  for (int i = 0; i < 300; ++i) {
    const Plan plan = random_plan(random, i % 2 == 0 ? Variant::Train : Variant::Flush);
    const Timeline timeline = simulate(plan, host_and_disk());
    ASSERT_EQ(timeline.spans.size(), plan.actions.size());
    std::vector<Span> by_action(plan.actions.size());
    for (const Span& span : timeline.spans) by_action[span.action] = span;
    std::vector<Seconds> lane_free(kNumLanes, -1e30);
    for (std::size_t a = 0; a < plan.actions.size(); ++a) {
      Seconds& free = lane_free[static_cast<std::size_t>(plan.actions[a].lane)];
      EXPECT_GE(by_action[a].start, free - 1e-9);
      EXPECT_GE(by_action[a].end - by_action[a].start, plan.actions[a].duration - 1e-9);
      free = by_action[a].end;
      for (const Dependency& wait : plan.actions[a].dependencies) {
        if (wait.previous_period) continue;
        EXPECT_GE(by_action[a].start, by_action[wait.action].end - 1e-9);
      }
    }
  }
}

TEST(Occupancy, FollowsResidencesAndWorkspaceAlongTheList) {
  const auto curves = occupancy(training_plan(), 2);
  // Weight, frozen weight and boundary, workspace of 2; then the gradient and a workspace of 3; then the moment alone.
  EXPECT_EQ(curves[0],
            (std::vector<Bytes>{2 * kPage, 6 * kPage, 8 * kPage, 4 * kPage, 4 * kPage, 3 * kPage, 2 * kPage}));
  EXPECT_EQ(curves[1], std::vector<Bytes>(7, 3 * kPage));
}

TEST(Occupancy, WrapsRoundThePeriodsEnd) {
  const auto curves = occupancy(prefetching_plan(), 1);
  EXPECT_EQ(curves[0], (std::vector<Bytes>{2 * kPage, 3 * kPage, 2 * kPage, 3 * kPage}));
}

}  // namespace
}  // namespace sluice::plan
