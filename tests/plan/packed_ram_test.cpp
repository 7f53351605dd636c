// Weights that wait packed in RAM, over random models: the budget holds both tiers, and the checker proves the plans.
#include "plan/packed_ram.h"

#include <gtest/gtest.h>

#include "plan/checker.h"
#include "plan/random_model.h"

namespace sluice::plan {
namespace {

// A base of 16 bits that is trained without a state: most of what there is are weights.
struct Case {
  explicit Case(unsigned seed, NumberFormat format = NumberFormat::Bf16) : trace(RandomModel(seed).trace()) {
    for (Chunk& chunk : trace.chunks) chunk.num_elements = round_up(chunk.num_elements, 2048) * 16;
    machine.tiers = {{.kind = TierKind::Host}};
    machine.compute = {.matmul = 2e10, .attention = 1e10, .memory = 5e9, .launch = 2e-6};
    machine.update_memory = 5e9;
    request.recipe.rules = {{.weights = format}};
    request.recipe.update = UpdateWhen::Backward;
  }
  StepTrace trace;
  Machine machine;
  PlanRequest request;
};

constexpr Bytes kBeside = MiB;

TEST(PackedRam, FitsFromTheLeastBudgetOnAndNotBelow) {
  int num_packed = 0;
  for (unsigned seed = 0; seed < static_cast<unsigned>(kNumSeeds); ++seed) {
    SCOPED_TRACE(seed);
    Case test(seed);
    const Bytes least = smallest_in_ram(test.trace, test.machine, test.request, 0);
    const Bytes alone = smallest_arena(test.trace, test.machine, test.request);
    ASSERT_LE(least, alone);
    Machine small = test.machine;
    small.tiers[0].capacity = least - 4096;
    const PlanResult refused = make_plan_in_ram(test.trace, small, test.request, 0);
    EXPECT_FALSE(refused.plans);
    EXPECT_EQ(refused.needed, least);
    EXPECT_EQ(small.tiers.size(), 1U);
    if (least == alone) continue;
    for (const Bytes more : {Bytes{0}, 64 * KiB, (alone - least) / 2}) {
      Machine machine = test.machine;
      machine.tiers[0].capacity = least + more;
      const PlanResult result = make_plan_in_ram(test.trace, machine, test.request, 0);
      ASSERT_TRUE(result.plans) << more;
      if (machine.tiers.size() == 1) continue;
      ++num_packed;
      EXPECT_LE(machine.tiers[0].capacity + machine.tiers[1].capacity, least + more);
      EXPECT_LE(machine.process_ram(result.plans->arena_peak), least + more);
      EXPECT_EQ(check_plan(result.plans->train, machine), std::vector<std::string>{});
      EXPECT_EQ(result.plans->predicted.disk_read, 0) << "RAM is no disk";
    }
  }
  EXPECT_GT(num_packed, kNumSeeds / 4);
}

TEST(PackedRam, CountsWhatItsLanesTake) {
  Case test(3);
  const Bytes least = smallest_in_ram(test.trace, test.machine, test.request, kBeside);
  test.machine.tiers[0].capacity = least;
  Machine machine = test.machine;
  const PlanResult result = make_plan_in_ram(test.trace, machine, test.request, kBeside);
  ASSERT_TRUE(result.plans);
  const bool packed = machine.tiers.size() == 2;
  EXPECT_EQ(machine.process_overhead, packed ? kBeside : 0);
  EXPECT_LE(machine.process_ram(result.plans->arena_peak), least);
}

TEST(PackedRam, LeavesAloneWhatFitsAndWhatIsNotNarrow) {
  Case test(5);
  const Bytes alone = smallest_arena(test.trace, test.machine, test.request);
  Machine machine = test.machine;
  machine.tiers[0].capacity = alone;
  EXPECT_TRUE(make_plan_in_ram(test.trace, machine, test.request, 0).plans);
  EXPECT_EQ(machine.tiers.size(), 1U);
  Case wide(5, NumberFormat::Fp32);
  const Bytes of_wide = smallest_arena(wide.trace, wide.machine, wide.request);
  EXPECT_EQ(smallest_in_ram(wide.trace, wide.machine, wide.request, 0), of_wide);
}

}  // namespace
}  // namespace sluice::plan
