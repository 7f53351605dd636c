// What a prediction becomes once a step was measured, computed by hand.
#include "plan/refine.h"

#include <gtest/gtest.h>

#include <utility>

#include "plan/handmade.h"
#include "plan/simulator.h"

namespace sluice::plan {
namespace {

using namespace handmade;

Plan two_updates_and_a_read() {
  Plan plan;
  plan.variant = Variant::Train;
  plan.buffers = {buffer(BufferKind::Weight, 0), buffer(BufferKind::Weight, 1)};
  for (const ActionKind kind : {ActionKind::Forward, ActionKind::Update, ActionKind::Update}) {
    plan.actions.push_back(compute(kind, 0, 1, {}, {}));
    plan.actions.back().duration = 1;
  }
  plan.actions.push_back(fetch(on_disk(0), at(0, 1), {}));
  plan.actions.back().duration = 2;
  plan.arena_peak = {8 * kPage, 2 * kPage};
  return plan;
}

Timeline measured_as(std::vector<Span> spans) {
  Timeline timeline;
  timeline.spans = std::move(spans);
  return timeline;
}

TEST(Refine, TakesMeasuredDurations) {
  const Plan plan = two_updates_and_a_read();
  const Timeline measured = measured_as({{0, 0, 3}, {1, 3, 4}, {2, 4, 6}, {3, 0, 1}});
  EXPECT_DOUBLE_EQ(simulate(plan, host_and_disk()).total, 3);
  EXPECT_DOUBLE_EQ(refine(plan, host_and_disk(), measured).total, 6);
}

TEST(Refine, StretchesWhatWasSkippedAsItsKindWas) {
  const Timeline measured = measured_as({{0, 0, 3}, {1, 3, 3.5}});
  EXPECT_DOUBLE_EQ(refine(two_updates_and_a_read(), host_and_disk(), measured).total, 3 + 0.5 + 0.5);
}

TEST(Refine, StretchesAKindThatNeverRanAsItsLaneWas) {
  const Timeline measured = measured_as({{0, 0, 3}});
  EXPECT_DOUBLE_EQ(refine(two_updates_and_a_read(), host_and_disk(), measured).total, 9);
}

TEST(Refine, DoesNotSlowLanesTwice) {
  Machine machine = host_and_disk();
  machine.contention = {.compute_beside_read = 0.5, .read_beside_compute = 0.5};
  const Timeline measured = measured_as({{0, 0, 1}, {1, 1, 2}, {2, 2, 3}, {3, 0, 3}});
  EXPECT_DOUBLE_EQ(refine(two_updates_and_a_read(), machine, measured).total, 3);
}

TEST(Refine, WithoutAMeasurementIsThePrediction) {
  const Plan plan = two_updates_and_a_read();
  EXPECT_DOUBLE_EQ(refine(plan, host_and_disk(), {}).total, simulate(plan, host_and_disk()).total);
}

}  // namespace
}  // namespace sluice::plan
