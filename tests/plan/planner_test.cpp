#include "plan/planner.h"

#include <gtest/gtest.h>

#include "plan/checker.h"
#include "plan/op_time.h"
#include "plan/simulator.h"
#include "random_model.h"

namespace sluice::plan {
namespace {

std::string first_of(const std::vector<std::string>& violations) { return violations.empty() ? "" : violations[0]; }

std::vector<const Plan*> variants(const PlanSet& plans) {
  std::vector<const Plan*> all = {&plans.train, &plans.flush};
  if (plans.evaluate) all.push_back(&*plans.evaluate);
  for (const Plan& plan : plans.generate) all.push_back(&plan);
  return all;
}

class PlannerOnRandomModels : public testing::TestWithParam<int> {};

TEST_P(PlannerOnRandomModels, MakesPlansThatTheCheckerProvesAtEveryBudgetFromTheFloorUp) {
  RandomModel random(static_cast<unsigned>(GetParam()));
  const StepTrace trace = random.trace();
  const bool with_device = GetParam() % 3 == 2;
  Machine machine = random.machine(with_device);
  const PlanRequest request{.recipe = random.recipe(), .with_evaluate = true};
  const Bytes floor = smallest_arena(trace, machine, request);
  for (const double factor : {1.0, 1.02, 1.3, 2.0, 5.0, 100.0}) {
    machine.tiers[0].capacity = round_up(static_cast<Bytes>(static_cast<double>(floor) * factor), 4096);
    const PlanResult result = make_plan(trace, machine, request);
    ASSERT_TRUE(result.plans) << "factor " << factor << " floor " << floor;
    EXPECT_LE(result.plans->arena_peak[0], machine.tiers[0].capacity);
    for (const Plan* plan : variants(*result.plans))
      EXPECT_EQ(first_of(check_plan(*plan, machine, plan == &result.plans->train ? nullptr : &result.plans->train)), "")
          << name(plan->variant) << " at factor " << factor;
    EXPECT_LE(result.plans->bound, result.plans->predicted.total * 1.0001);
  }
}

TEST_P(PlannerOnRandomModels, ProvesEveryOrderOfMicroBatchesAndBlocks) {
  RandomModel random(static_cast<unsigned>(GetParam()));
  const StepTrace trace = random.trace();
  Machine machine = random.machine(GetParam() % 3 == 2);
  PlanRequest request{.recipe = random.recipe()};
  for (int group_size = 1; group_size <= request.recipe.num_micro_batches; ++group_size) {
    request.group_size = group_size;
    request.boundary_stride = random.pick(1, 3);
    request.activations = static_cast<Activations>(random.pick(0, 3));
    const Bytes floor = smallest_arena(trace, machine, request);
    for (const Bytes capacity : {floor, floor * 3 / 2, Bytes{1} << 40}) {
      machine.tiers[0].capacity = capacity / 4096 * 4096;
      const PlanResult result = make_plan(trace, machine, request);
      ASSERT_TRUE(result.plans);
      EXPECT_EQ(result.plans->train.group_size, group_size);
      EXPECT_EQ(first_of(check_plan(result.plans->train, machine)), "")
          << "groups of " << group_size << ", stride " << request.boundary_stride << ", capacity " << capacity;
    }
  }
}

TEST_P(PlannerOnRandomModels, NeverPlansASlowerStepForHavingTheChoiceOfGroups) {
  RandomModel random(static_cast<unsigned>(GetParam()));
  const StepTrace trace = random.trace();
  Machine machine = random.machine(false);
  PlanRequest request{.recipe = random.recipe()};
  machine.tiers[0].capacity = smallest_arena(trace, machine, request) * 5 / 4 / 4096 * 4096;
  const PlanResult chosen = make_plan(trace, machine, request);
  request.group_size = request.recipe.num_micro_batches;
  request.boundary_stride = 1;
  const PlanResult vertical = make_plan(trace, machine, request);
  ASSERT_TRUE(chosen.plans);
  if (!vertical.plans) return;  // it needs more
  EXPECT_LE(chosen.plans->predicted.total, vertical.plans->predicted.total * 1.002);
}

TEST_P(PlannerOnRandomModels, PlansFrozenChunksWithoutStateOrWriteBack) {
  RandomModel random(static_cast<unsigned>(GetParam()));
  const StepTrace trace = random.partly_frozen_trace();
  StepTrace whole = trace;
  for (Chunk& chunk : whole.chunks) chunk.trained = true;
  Machine machine = random.machine(GetParam() % 3 == 2);
  PlanRequest request{.recipe = random.recipe(), .with_evaluate = true};
  request.boundary_stride = random.pick(0, 3);
  request.activations = static_cast<Activations>(random.pick(0, 3));
  const Bytes floor = smallest_arena(trace, machine, request);
  EXPECT_LE(floor, smallest_arena(whole, machine, request) * 9 / 8);  // buffers of random sizes leave gaps
  for (const Bytes capacity : {floor, floor * 3 / 2, Bytes{1} << 40}) {
    machine.tiers[0].capacity = capacity / 4096 * 4096;
    const PlanResult result = make_plan(trace, machine, request);
    ASSERT_TRUE(result.plans);
    for (const Plan* plan : variants(*result.plans)) {
      EXPECT_EQ(first_of(check_plan(*plan, machine, plan == &result.plans->train ? nullptr : &result.plans->train)), "")
          << name(plan->variant) << ", capacity " << capacity;
      for (const Buffer& buffer : plan->buffers)
        EXPECT_TRUE(buffer.kind == BufferKind::Weight || buffer.chunk < 0 || trace.chunks[buffer.chunk].trained);
      for (const Action& action : plan->actions) {
        if (action.kind == ActionKind::Backward) {
          EXPECT_GE(action.block, first_backward(trace));
        }
        // Between a device and its host a copy may go down to wait there; what it came from is never written.
        if (action.kind != ActionKind::WriteBack || action.slots[1].offset >= 0) continue;
        const int chunk = plan->buffers[action.slots[0].buffer].chunk;
        EXPECT_TRUE(chunk < 0 || trace.chunks[chunk].trained) << "writes what is frozen to the disk";
      }
    }
  }
}

TEST_P(PlannerOnRandomModels, CutsNoTensorThatUpdatesNeedWholeAndGivesThemTheirWorkspace) {
  RandomModel random(static_cast<unsigned>(GetParam()));
  const StepTrace trace = random.whole_tensor_trace();
  Machine machine = random.machine(GetParam() % 3 == 2);
  PlanRequest request{.recipe = random.recipe(), .with_evaluate = GetParam() % 2 == 0};
  for (RuleNeeds& rule : request.recipe.rules) rule.measuring_passes = 0;
  const Bytes floor = smallest_arena(trace, machine, request);
  for (const Bytes capacity : {floor, floor * 3 / 2, Bytes{1} << 40}) {
    machine.tiers[0].capacity = capacity / 4096 * 4096;
    const PlanResult result = make_plan(trace, machine, request);
    ASSERT_TRUE(result.plans);
    for (const Plan* plan : variants(*result.plans))
      EXPECT_EQ(first_of(check_plan(*plan, machine, plan == &result.plans->train ? nullptr : &result.plans->train)), "")
          << name(plan->variant) << ", capacity " << capacity;
    std::int64_t updated = 0;
    for (const Action& action : result.plans->train.actions) {
      if (action.kind != ActionKind::Update) continue;
      const Chunk& chunk = trace.chunks[action.chunk];
      const ElementRange slice = slice_range(result.plans->train, action.chunk, action.slice, chunk.num_elements);
      updated += slice.count;
      for (const ParameterSlot& parameter : chunk.parameters) {
        const std::int64_t first = parameter.first_element - slice.first, last = first + parameter.num_elements;
        if (parameter.update < 0 || last <= 0 || first >= slice.count) continue;
        EXPECT_TRUE(first >= 0 && last <= slice.count) << "a slice cuts " << parameter.name;
        EXPECT_GT(action.workspace, 0);
        EXPECT_EQ(action.slots[1].access, Access::ReadWrite);
        EXPECT_GT(action.duration, predict_compute(trace.updates[parameter.update], machine));
      }
    }
    std::int64_t all = 0;
    for (const Chunk& chunk : trace.chunks) all += chunk.num_elements;
    EXPECT_EQ(updated, all);
  }
}

// Every stage, timing and number of ranks: proven at the floor, between, and with plenty; the same for all ranks.
TEST_P(PlannerOnRandomModels, ProvesPlansOfRanksAtEveryStage) {
  const int stage = GetParam() % 4;
  RandomModel random(static_cast<unsigned>(GetParam()));
  StepTrace trace = GetParam() % 8 < 4 ? random.trace() : random.partly_frozen_trace();
  Machine machine = random.machine(false);
  PlanRequest request{.recipe = random.recipe(), .with_evaluate = true};
  request.recipe.sharding = {.num_ranks = random.pick(2, 5), .stage = stage};
  if (stage > 0) request.recipe.rules.assign(2, {.states = {{}, {.per_block = 512}}});
  if (GetParam() % 3 == 0) request.recipe.reduce = NumberFormat::OneBit;
  pad_for_shards(trace, request.recipe.sharding);
  const Bytes floor = smallest_arena(trace, machine, request);
  for (const Bytes capacity : {floor, floor * 5 / 4, Bytes{1} << 40}) {
    machine.tiers[0].capacity = capacity / 4096 * 4096;
    const PlanResult result = make_plan(trace, machine, request);
    ASSERT_TRUE(result.plans);
    for (const Plan* plan : variants(*result.plans))
      EXPECT_EQ(first_of(check_plan(*plan, machine, plan == &result.plans->train ? nullptr : &result.plans->train)), "")
          << name(plan->variant) << " at stage " << stage << ", capacity " << capacity;
  }
}

// Long sequences, no disk: what waits between blocks decides what fits.
TEST(Planner, LowersTheFloorWithoutADiskBySmallerGroupsAndFewerBoundaries) {
  StepTrace trace;
  ComputeTrace computation;
  computation.events = {{0, MiB}, {0, 0}};
  computation.ops = {{OpClass::Memory, 0, MiB}};
  trace.traces = {{.forward = {computation}, .backward = {computation}, .evaluate = computation}};
  constexpr int kLayers = 16;
  for (int i = 0; i < kLayers + 2; ++i) {
    trace.chunks.push_back({"chunk" + std::to_string(i), {}, 1024});
    trace.blocks.push_back({"block" + std::to_string(i), 0, {i}, i - 1, i <= kLayers ? i : -1});
    if (i <= kLayers) trace.boundary_bytes.push_back(MiB);
  }
  Machine machine = RandomModel(0).machine(false);
  machine.tiers.pop_back();
  PlanRequest request{.recipe = {.num_micro_batches = 4}, .activations = Activations::Recompute};
  const auto floor = [&](int group_size, int stride) {
    request.group_size = group_size;
    request.boundary_stride = stride;
    return smallest_arena(trace, machine, request);
  };
  EXPECT_LT(floor(1, 1), floor(4, 1) - 3 * kLayers / 2 * MiB);
  EXPECT_LT(floor(1, 4), floor(1, 1) - kLayers / 2 * MiB);
  EXPECT_EQ(floor(0, 0), floor(1, 4));
}

// Twenty layers of 40 MiB with AdamW's states where the disk takes twice as long as computing: it must not pause.
TEST(Planner, KeepsTheDiskBusyWhereItIsTheBottleneck) {
  Machine machine = RandomModel(0).machine(false);
  machine.tiers[0].up = machine.tiers[0].down = 1e9;
  machine.tiers[0].shared_link = false;
  machine.compute.memory = 40e9;
  StepTrace trace;
  ComputeTrace computation;
  computation.ops = {{OpClass::Memory, 0, 4'000 * MiB}};
  trace.traces = {{.forward = {computation}, .backward = {computation}, .evaluate = computation}};
  constexpr int kLayers = 20;
  for (int i = 0; i < kLayers; ++i) {
    trace.chunks.push_back({"chunk" + std::to_string(i), {}, 10 * MiB});
    trace.blocks.push_back({"block" + std::to_string(i), 0, {i}, i - 1, i + 1 < kLayers ? i : -1});
    if (i + 1 < kLayers) trace.boundary_bytes.push_back(MiB);
  }
  machine.tiers[0].capacity = 400 * MiB;
  const PlanResult result = make_plan(trace, machine, {.recipe = {.update = UpdateWhen::Backward}});
  ASSERT_TRUE(result.plans);
  EXPECT_GT(result.plans->predicted.disk_read, Bytes{kLayers} * 100 * MiB);
  EXPECT_LT(result.plans->predicted.total, 1.15 * result.plans->bound);
}

TEST_P(PlannerOnRandomModels, SaysHowMuchIsMissingOnePageBelowTheFloor) {
  RandomModel random(static_cast<unsigned>(GetParam()));
  const StepTrace trace = random.trace();
  Machine machine = random.machine(false);
  const PlanRequest request{.recipe = random.recipe(), .with_evaluate = true};
  const Bytes floor = smallest_arena(trace, machine, request);
  machine.tiers[0].capacity = floor - 4096;
  const PlanResult result = make_plan(trace, machine, request);
  ASSERT_FALSE(result.plans);
  EXPECT_EQ(result.short_tier, 0);
  EXPECT_EQ(result.needed, floor);
  EXPECT_EQ(result.available, floor - 4096);
}

TEST_P(PlannerOnRandomModels, MovesNothingWhenEverythingFits) {
  RandomModel random(static_cast<unsigned>(GetParam()));
  const StepTrace trace = random.trace();
  const Machine machine = random.machine(false);
  const PlanResult result = make_plan(trace, machine, {.recipe = random.recipe()});
  ASSERT_TRUE(result.plans);
  EXPECT_EQ(result.plans->predicted.disk_read + result.plans->predicted.disk_written, 0);
}

TEST_P(PlannerOnRandomModels, NeedsNoStoreWhenThereIsRoom) {
  RandomModel random(static_cast<unsigned>(GetParam()));
  const StepTrace trace = random.trace();
  Machine machine = random.machine(false);
  machine.tiers.pop_back();
  const PlanResult result = make_plan(trace, machine, {.recipe = random.recipe(), .with_evaluate = true});
  ASSERT_TRUE(result.plans);
  for (const Plan* plan : variants(*result.plans))
    EXPECT_EQ(first_of(check_plan(*plan, machine, plan == &result.plans->train ? nullptr : &result.plans->train)), "")
        << name(plan->variant);
}

TEST_P(PlannerOnRandomModels, PlansEvaluationAloneWithWeightsResidentOrStreamed) {
  RandomModel random(static_cast<unsigned>(GetParam()));
  StepTrace trace = random.trace();
  for (Chunk& chunk : trace.chunks) chunk.trained = false;
  Machine machine = random.machine(false);
  const PlanRequest request{.recipe = {.rules = {{}}}, .forward_only = true, .with_evaluate = true};
  const Bytes floor = smallest_arena(trace, machine, request);
  for (const Bytes capacity : {floor, floor + floor / 3, Bytes{1} << 40}) {
    machine.tiers[0].capacity = capacity;
    const PlanResult result = make_plan(trace, machine, request);
    ASSERT_TRUE(result.plans);
    EXPECT_LE(result.plans->arena_peak[0], capacity);
    EXPECT_EQ(first_of(check_plan(*result.plans->evaluate, machine)), "");
  }
}

TEST_P(PlannerOnRandomModels, AnEvaluationOfSeveralMicroBatchesReadsAWeightNoMoreOftenThanOfOne) {
  RandomModel random(static_cast<unsigned>(GetParam()));
  StepTrace trace = random.trace();
  for (Chunk& chunk : trace.chunks) chunk.trained = false;
  Machine machine = random.machine(false);
  const auto weight_reads = [&](int num_micro_batches) {
    const PlanRequest request{
        .recipe = {.num_micro_batches = num_micro_batches, .num_evaluated = num_micro_batches, .rules = {{}}},
        .forward_only = true,
        .with_evaluate = true};
    machine.tiers[0].capacity = smallest_arena(trace, machine, request);
    const Plan plan = *make_plan(trace, machine, request).plans->evaluate;
    EXPECT_EQ(first_of(check_plan(plan, machine)), "");
    int reads = 0, forwards = 0;
    for (const Action& action : plan.actions) {
      forwards += action.kind == ActionKind::Forward && action.segment <= 0 ? 1 : 0;
      if (action.kind == ActionKind::Fetch)
        reads += plan.buffers[action.slots[0].buffer].kind == BufferKind::Weight ? 1 : 0;
    }
    EXPECT_EQ(forwards, num_micro_batches * static_cast<int>(trace.blocks.size()));
    return reads;
  };
  const int once = weight_reads(1);
  EXPECT_LE(weight_reads(5), once);
}

TEST_P(PlannerOnRandomModels, PlansGenerationWithCachesThatStayAndWeightsResidentOrStreamed) {
  RandomModel random(static_cast<unsigned>(GetParam()));
  const StepTrace trace = random.generation_trace();
  Machine machine = random.machine(false);
  const PlanRequest request{.recipe = {.rules = {{}}}, .forward_only = true};
  const Bytes floor = smallest_arena(trace, machine, request);
  for (const Bytes capacity : {floor, floor + floor / 3, floor * 2, Bytes{1} << 40}) {
    machine.tiers[0].capacity = capacity;
    const PlanResult result = make_plan(trace, machine, request);
    ASSERT_TRUE(result.plans);
    EXPECT_LE(result.plans->arena_peak[0], capacity);
    ASSERT_EQ(result.plans->generate.size(), 2U);
    for (const Plan& plan : result.plans->generate) {
      EXPECT_EQ(plan.variant, Variant::Generate);
      EXPECT_EQ(first_of(check_plan(plan, machine)), "");
      for (const Plan& before : result.plans->generate) EXPECT_EQ(first_of(check_plan(plan, machine, &before)), "");
      for (const Action& action : plan.actions) {
        EXPECT_NE(action.kind, ActionKind::WriteBack) << "caches never move";
        EXPECT_FALSE(action.kind == ActionKind::Fetch && capacity == Bytes{1} << 40) << "everything fits";
      }
    }
  }
}

TEST_P(PlannerOnRandomModels, PlansGenerationWithoutAStore) {
  RandomModel random(static_cast<unsigned>(GetParam()));
  const StepTrace trace = random.generation_trace();
  Machine machine = random.machine(false);
  machine.tiers.pop_back();
  const PlanRequest request{.recipe = {.rules = {{}}}, .forward_only = true};
  machine.tiers[0].capacity = smallest_arena(trace, machine, request);
  const PlanResult result = make_plan(trace, machine, request);
  ASSERT_TRUE(result.plans);
  for (const Plan& plan : result.plans->generate) EXPECT_EQ(first_of(check_plan(plan, machine)), "");
  machine.tiers[0].capacity -= 4096;
  EXPECT_FALSE(make_plan(trace, machine, request).plans);
}

// Below a device, from a host where everything waits down to one that hardly holds what passes through.
TEST_P(PlannerOnRandomModels, ProvesPlansOnThreeTiersHoweverSmallTheHostIs) {
  RandomModel random(static_cast<unsigned>(GetParam()));
  const StepTrace trace = random.trace();
  Machine machine = random.machine(true);
  const PlanRequest request{.recipe = random.recipe(), .with_evaluate = true};
  machine.tiers[0].capacity = smallest_arena(trace, machine, request) * (GetParam() % 4 + 2) / 2;
  const PlanResult roomy = make_plan(trace, machine, request);
  ASSERT_TRUE(roomy.plans);
  const Bytes most = roomy.plans->arena_peak[1];
  for (const double share : {1.0, 0.8, 0.5, 0.3, 0.15, 0.0}) {
    machine.tiers[1].capacity = round_up(static_cast<Bytes>(static_cast<double>(most) * share), 4096);
    PlanResult result = make_plan(trace, machine, request);
    if (!result.plans) {
      EXPECT_EQ(result.short_tier, 1) << "share " << share;
      machine.tiers[1].capacity = result.needed;
      result = make_plan(trace, machine, request);
    }
    ASSERT_TRUE(result.plans) << "share " << share;
    EXPECT_LE(result.plans->arena_peak[1], machine.tiers[1].capacity);
    for (const Plan* plan : variants(*result.plans))
      EXPECT_EQ(first_of(check_plan(*plan, machine, plan == &result.plans->train ? nullptr : &result.plans->train)), "")
          << name(plan->variant) << " at share " << share;
  }
}

TEST_P(PlannerOnRandomModels, PlansTwoArenasWithoutAStore) {
  RandomModel random(static_cast<unsigned>(GetParam()));
  const StepTrace trace = random.trace();
  Machine machine = random.machine(true);
  machine.tiers.pop_back();
  const PlanRequest request{.recipe = random.recipe(), .with_evaluate = true};
  const Bytes floor = smallest_arena(trace, machine, request);
  for (const Bytes capacity : {floor, 2 * floor, Bytes{1} << 40}) {
    machine.tiers[0].capacity = capacity;
    const PlanResult result = make_plan(trace, machine, request);
    ASSERT_TRUE(result.plans);
    EXPECT_LE(result.plans->arena_peak[0], capacity);
    for (const Plan* plan : variants(*result.plans))
      EXPECT_EQ(first_of(check_plan(*plan, machine, plan == &result.plans->train ? nullptr : &result.plans->train)), "")
          << name(plan->variant);
  }
}

TEST_P(PlannerOnRandomModels, PlansEvaluationAndGenerationAloneBelowADevice) {
  RandomModel random(static_cast<unsigned>(GetParam()));
  StepTrace evaluation = random.trace();
  for (Chunk& chunk : evaluation.chunks) chunk.trained = false;
  const StepTrace generation = random.generation_trace();
  Bytes weights = 0;
  for (const Chunk& chunk : generation.chunks) weights += chunk.num_elements * Bytes{sizeof(float)};
  for (const bool with_store : {true, false}) {
    for (const StepTrace* trace : std::initializer_list<const StepTrace*>{&evaluation, &generation}) {
      Machine machine = random.machine(true);
      if (!with_store) machine.tiers.pop_back();
      const PlanRequest request{.recipe = {.rules = {{}}}, .forward_only = true, .with_evaluate = trace == &evaluation};
      const Bytes floor = smallest_arena(*trace, machine, request);
      for (const Bytes capacity : {floor, 2 * floor, Bytes{1} << 40}) {
        for (const Bytes host : {Bytes{1} << 40, weights / 2}) {
          machine.tiers[0].capacity = capacity;
          machine.tiers[1].capacity = host;
          PlanResult result = make_plan(*trace, machine, request);
          // Given what it names, first of one tier, perhaps of another then, it fits. The floor was one for a large
          // host.
          for (int i = 0; i < 2 && !result.plans; ++i) {
            machine.tiers[result.short_tier].capacity = result.needed;
            result = make_plan(*trace, machine, request);
          }
          ASSERT_TRUE(result.plans) << "device " << capacity << " host " << host << " store " << with_store;
          EXPECT_LE(result.plans->arena_peak[0], machine.tiers[0].capacity);
          EXPECT_LE(result.plans->arena_peak[0], capacity + capacity / 8);
          for (const Plan* plan : variants(*result.plans)) {
            if (plan->actions.empty()) continue;
            EXPECT_EQ(first_of(check_plan(*plan, machine)), "") << name(plan->variant);
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, PlannerOnRandomModels, testing::Range(0, kNumSeeds));

}  // namespace
}  // namespace sluice::plan
