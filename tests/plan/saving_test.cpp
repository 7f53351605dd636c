#include "plan/saving.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "plan/planner.h"
#include "random_model.h"

namespace sluice::plan {
namespace {

// Ten layers with two classes between a first and a last block without any.
StepTrace ten_layers() {
  StepTrace trace;
  trace.traces.resize(2);
  trace.traces[1].saved_classes = {"a", "b"};
  for (int i = 0; i < 12; ++i) {
    Block block;
    block.trace = i > 0 && i < 11 ? 1 : 0;
    trace.blocks.push_back(block);
  }
  return trace;
}

TEST(SavingPattern, SavesEverythingInTheLastBlocksAndSpreadsTheRest) {
  const StepTrace trace = ten_layers();
  EXPECT_EQ(num_saving_blocks(trace), 10);
  EXPECT_EQ(saved_masks(trace, {2}), (std::vector<SavedMask>{0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 3, 0}));
  EXPECT_EQ(saved_masks(trace, {2, 4, 1}), (std::vector<SavedMask>{0, 0, 1, 0, 1, 0, 1, 0, 1, 3, 3, 0}));
  EXPECT_EQ(saved_masks(trace, {99, 99}), (std::vector<SavedMask>{0, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 0}));
  for (int spread = 0; spread <= 8; ++spread) {
    const std::vector<SavedMask> masks = saved_masks(trace, {2, spread, 2});
    EXPECT_EQ(std::ranges::count(masks, 2U), spread);
  }
}

class SavedOnRandomModels : public testing::TestWithParam<int> {};

TEST_P(SavedOnRandomModels, StayInTierZeroWhenAskedToAndAreAllSavedWhenTheyMaySpill) {
  RandomModel random(static_cast<unsigned>(GetParam()));
  const StepTrace trace = random.trace();
  Machine machine = random.machine(false);
  PlanRequest request{.recipe = random.recipe(), .activations = Activations::Keep};
  machine.tiers[0].capacity = smallest_arena(trace, machine, request);
  const PlanResult kept = make_plan(trace, machine, request);
  ASSERT_TRUE(kept.plans);
  const ActivationSummary all_held = summarize_activations(kept.plans->train, trace);
  EXPECT_EQ(all_held.held, num_saving_blocks(trace));
  EXPECT_EQ(all_held.spilled_bytes, 0);
  request.activations = Activations::Spill;
  const Bytes least = smallest_arena(trace, machine, request);
  EXPECT_LE(least, machine.tiers[0].capacity);
  machine.tiers[0].capacity = least;
  const PlanResult spilled = make_plan(trace, machine, request);
  ASSERT_TRUE(spilled.plans);
  const ActivationSummary summary = summarize_activations(spilled.plans->train, trace);
  EXPECT_EQ(summary.held + summary.spilled, num_saving_blocks(trace));
}

TEST_P(SavedOnRandomModels, CountAgainstTheDiskWriteLimit) {
  RandomModel random(static_cast<unsigned>(GetParam()));
  const StepTrace trace = random.trace();
  Machine machine = random.machine(false);
  PlanRequest request{.recipe = random.recipe()};
  machine.tiers[0].capacity = smallest_arena(trace, machine, request) * 3 / 2 / 4096 * 4096;
  request.disk_write_limit = 1;
  const PlanResult refused = make_plan(trace, machine, request);
  if (refused.plans) {
    EXPECT_EQ(refused.plans->predicted.disk_written, 0);
    return;
  }
  ASSERT_TRUE(refused.least_written_per_day);
  request.disk_write_limit = *refused.least_written_per_day;
  const PlanResult least = make_plan(trace, machine, request);
  ASSERT_TRUE(least.plans);
  EXPECT_LE(least.plans->predicted.written_per_day(), request.disk_write_limit);
}

INSTANTIATE_TEST_SUITE_P(Seeds, SavedOnRandomModels, testing::Range(0, std::min(40, kNumSeeds)));

}  // namespace
}  // namespace sluice::plan
