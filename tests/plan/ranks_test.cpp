// Plans of several ranks: what they send is what theory says, exchanges stand beside computation, and every way to
// break the rules of ranks is found.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "plan/checker.h"
#include "plan/exposed.h"
#include "plan/memory_parts.h"
#include "plan/random_model.h"

namespace sluice::plan {
namespace {

// Six blocks of one chunk each, which the loss block shares with none.
StepTrace six_blocks(const Sharding& sharding) {
  StepTrace trace;
  ComputeTrace computation;
  computation.events = {{0, MiB}, {0, 0}};
  computation.ops = {{OpClass::Memory, 0, 64 * MiB}};
  trace.traces = {{.forward = {computation}, .backward = {computation}, .evaluate = computation}};
  for (int i = 0; i < 6; ++i) {
    trace.chunks.push_back({"chunk" + std::to_string(i), {}, 100 * 1024});
    trace.blocks.push_back({"block" + std::to_string(i), 0, {i}, i - 1, i < 5 ? i : -1});
    if (i < 5) trace.boundary_bytes.push_back(4096);
  }
  pad_for_shards(trace, sharding);
  return trace;
}

struct Planned {
  StepTrace trace;
  Machine machine;
  PlanSet plans;
};

// `measuring`: passes in which the rule looks at whole tensors first.
Planned planned(const Sharding& sharding, UpdateWhen update = UpdateWhen::NextForward, int num_micro_batches = 1,
                NumberFormat reduce = NumberFormat::Fp32, int measuring = 0) {
  Planned result{six_blocks(sharding), RandomModel(0).machine(false), {}};
  PlanRequest request{
      .recipe = {.num_micro_batches = num_micro_batches, .update = update, .sharding = sharding, .reduce = reduce}};
  request.recipe.rules = {
      {.states = {{}, {.per_block = 0, .per_chunk = std::vector<Bytes>(6, 4096)}}, .measuring_passes = measuring}};
  request.with_evaluate = true;
  result.plans = make_plan(result.trace, result.machine, request).plans.value();
  return result;
}

Bytes weight_bytes(const StepTrace& trace) {
  Bytes total = 0;
  for (const Chunk& chunk : trace.chunks) total += chunk.num_elements * 4;
  return total;
}

TEST(PlansOfRanks, KeepTheElementsThatTheirStageSays) {
  for (const int ranks : {2, 4}) {
    for (int stage = 0; stage <= 3; ++stage) {
      const Planned p = planned({.num_ranks = ranks, .stage = stage});
      const std::int64_t all = weight_bytes(p.trace) / 4, part = all / ranks;
      const StateElements expected = {
          .weights = stage < 3 ? all : part, .gradients = stage < 2 ? all : part, .updated = stage < 1 ? all : part};
      EXPECT_EQ(state_elements(p.plans.train), expected) << ranks << " ranks, stage " << stage;
    }
  }
}

// What leaves a node goes over a slower link, and the plan waits for it.
TEST(PlansOfRanks, TakeLongerOverASlowNetwork) {
  Planned p = planned({.num_ranks = 4, .stage = 3});
  p.machine.network = {.within_node = {.rate = 1e9}, .between_nodes = {.rate = 1e7}};
  const PlanRequest request{.recipe = {.sharding = p.plans.train.sharding}};
  const auto seconds_with = [&](int ranks_per_node) {
    p.machine.network.ranks_per_node = ranks_per_node;
    return make_plan(p.trace, p.machine, request).plans->predicted.total;
  };
  EXPECT_GT(seconds_with(2), 1.5 * seconds_with(4));
  EXPECT_GT(seconds_with(1), seconds_with(2));
}

TEST(PlansOfRanks, SendTwiceTheWeightsUpToStageTwoAndThreeTimesAtStageThree) {
  for (const int ranks : {2, 3, 4}) {
    for (int stage = 0; stage <= 3; ++stage) {
      for (const int micro_batches : {1, 4}) {
        const Planned p = planned({.num_ranks = ranks, .stage = stage}, UpdateWhen::NextForward, micro_batches);
        const Bytes psi = weight_bytes(p.trace) * (ranks - 1) / ranks;
        // Of the loss block forward and backward are one: its weights are gathered once.
        const Bytes last = p.trace.chunks.back().num_elements * 4 * (ranks - 1) / ranks;
        const bool in_groups = p.plans.train.group_size < micro_batches;
        if (in_groups) continue;
        // Ranks that do not divide a chunk at stage 0 send a few bytes more or less.
        EXPECT_NEAR(static_cast<double>(bytes_sent(p.plans.train)),
                    static_cast<double>(stage < 3 ? 2 * psi : 3 * psi - last), stage == 0 ? 64 : 0)
            << ranks << " ranks, stage " << stage;
      }
    }
  }
}

TEST(PlansOfRanks, SendGradientsOfHalfTheBytesInSixteenBits) {
  for (int stage = 0; stage <= 3; ++stage) {
    const Sharding sharding{.num_ranks = 4, .stage = stage};
    const Planned wide = planned(sharding);
    const Planned narrow = planned(sharding, UpdateWhen::NextForward, 1, NumberFormat::Bf16);
    Bytes sums = 0;
    for (const Action& action : wide.plans.train.actions)
      if (action.lane == Lane::Communication && action.kind != ActionKind::AllGather) sums += action.bytes;
    EXPECT_EQ(bytes_sent(wide.plans.train) - bytes_sent(narrow.plans.train), sums / 2) << "stage " << stage;
    EXPECT_EQ(narrow.plans.arena_peak, wide.plans.arena_peak) << "no memory beside the gradients' own";
  }
}

TEST(PlansOfRanks, SendGradientsInOneBitAndKeepTheRest) {
  for (int stage = 0; stage <= 3; ++stage) {
    const Sharding sharding{.num_ranks = 4, .stage = stage};
    const Planned whole = planned(sharding);
    const Planned bits = planned(sharding, UpdateWhen::NextForward, 1, NumberFormat::OneBit);
    Bytes sums = 0, records = 0;
    for (const Action& action : whole.plans.train.actions)
      if (action.lane == Lane::Communication && action.kind != ActionKind::AllGather) sums += action.bytes;
    // An eighth of a byte and a magnitude for 256 numbers: to all others, or to each other its part.
    for (const Chunk& chunk : bits.trace.chunks) records += chunk.num_elements / 8 + chunk.num_elements / 256 * 4;
    EXPECT_EQ(bytes_sent(whole.plans.train) - bytes_sent(bits.plans.train),
              sums - (stage == 0 ? 3 * records : records * 3 / 4))
        << "stage " << stage;
    EXPECT_EQ(most_alive(bits.plans.train, BufferKind::Residual), weight_bytes(bits.trace))
        << "of the whole, each rank";
    EXPECT_EQ(state_elements(bits.plans.train), state_elements(whole.plans.train));
    const std::vector<std::string> none;
    EXPECT_EQ(check_plan(bits.plans.train, bits.machine), none);
    EXPECT_EQ(check_plan(bits.plans.flush, bits.machine, &bits.plans.train), none);
  }
}

TEST(PlansOfRanks, InGroupsSendOnlySumsOfTheirPartsToOtherGroups) {
  for (int stage = 0; stage <= 3; ++stage) {
    const Planned p = planned({.num_ranks = 8, .stage = stage, .group_size = 4});
    const Bytes psi = weight_bytes(p.trace), last = p.trace.chunks.back().num_elements * 4;
    EXPECT_EQ(bytes_sent(p.plans.train, Among::All), 0);
    // Stage 0 makes the gradient whole again, 1 and 2 the weights, 3 the weights twice, but those of the loss once.
    EXPECT_EQ(bytes_sent(p.plans.train, Among::Group), (stage < 3 ? 2 * psi : 3 * psi - last) * 3 / 4);
    EXPECT_EQ(bytes_sent(p.plans.train, Among::Replicas), 2 * (psi / 4) * 1 / 2) << "stage " << stage;
  }
}

TEST(PlansOfRanks, InGroupsNeedTheMemoryOfOneGroup) {
  const Planned flat = planned({.num_ranks = 4, .stage = 3}),
                groups = planned({.num_ranks = 8, .stage = 3, .group_size = 4});
  EXPECT_EQ(groups.plans.arena_peak, flat.plans.arena_peak);
  EXPECT_NE(digest(groups.plans), digest(flat.plans));
}

TEST(PlansOfRanks, ExchangeEveryMicroBatchInTheFixedOrder) {
  for (const int ranks : {1, 2, 3, 4}) {
    for (int stage = ranks == 1 ? 1 : 0; stage <= 3; ++stage) {
      for (const int micro_batches : {1, 4}) {
        const Sharding sharding{.num_ranks = ranks, .stage = stage, .fixed_order = true};
        const Planned p = planned(sharding, UpdateWhen::NextForward, micro_batches);
        if (p.plans.train.group_size < micro_batches) continue;
        const Bytes psi = weight_bytes(p.trace) * (ranks - 1) / ranks;
        const Bytes last = p.trace.chunks.back().num_elements * 4 * (ranks - 1) / ranks;
        EXPECT_EQ(bytes_sent(p.plans.train), micro_batches * psi + (stage < 3 ? psi : 2 * psi - last))
            << ranks << " ranks, stage " << stage << ", " << micro_batches << " micro-batches";
        EXPECT_EQ(check_plan(p.plans.train, p.machine), std::vector<std::string>());
      }
    }
  }
}

TEST(PlansOfRanks, HideExchangesBehindTheComputation) {
  const Planned p = planned({.num_ranks = 2, .stage = 3});
  const Exchanges exchanges = exchanges_of(p.plans.train, p.plans.predicted);
  EXPECT_EQ(exchanges.sent, bytes_sent(p.plans.train));
  EXPECT_LT(exchanges.exposed, exchanges.busy / 2);
}

TEST(PlansOfRanks, NeedLessMemoryWithEveryStage) {
  Bytes before = std::numeric_limits<Bytes>::max();
  for (int stage = 0; stage <= 3; ++stage) {
    const Sharding sharding{.num_ranks = 4, .stage = stage};
    const StepTrace trace = six_blocks(sharding);
    Machine machine = RandomModel(0).machine(false);
    machine.tiers.pop_back();
    const Bytes floor = smallest_arena(trace, machine, {.recipe = {.sharding = sharding}});
    EXPECT_LT(floor, before) << "stage " << stage;
    before = floor;
  }
}

TEST(PlansOfRanks, AreOneNumberForAllRanksAndAnotherForAnotherList) {
  Planned first = planned({.num_ranks = 2, .stage = 2});
  Planned same = planned({.num_ranks = 2, .stage = 2});
  EXPECT_EQ(digest(first.plans), digest(same.plans));
  take_shard(first.plans, 0);
  take_shard(same.plans, 1);
  EXPECT_EQ(digest(first.plans), digest(same.plans)) << "whose part it is does not count";
  same.plans.train.actions[3].slots.front().offset += 4096;
  EXPECT_NE(digest(first.plans), digest(same.plans));
}

TEST(PlansOfRanks, GiveEachRankItsPartOfEveryChunk) {
  const Sharding sharding{.num_ranks = 3, .stage = 3};
  const StepTrace trace = six_blocks(sharding);
  std::int64_t covered = 0;
  for (int rank = 0; rank < 3; ++rank) {
    Planned p = planned(sharding);
    take_shard(p.plans, rank);
    for (const Buffer& buffer : p.plans.train.buffers) {
      if (buffer.kind != BufferKind::Weight || buffer.chunk != 0) continue;
      EXPECT_EQ(buffer.first_element, covered);
      EXPECT_EQ(buffer.first_element % kShardGranularity, 0);
      covered += buffer.num_elements;
    }
    const ElementRange own = own_range(p.plans.train, trace.chunks[0].num_elements);
    EXPECT_EQ(own.first + own.count, covered);
  }
  EXPECT_EQ(covered, trace.chunks[0].num_elements);
}

/// Breaks a good plan; the checker must find it.
struct Broken {
  const char* name;
  Sharding sharding;
  UpdateWhen update;
  std::function<void(Plan&)> break_it;
  const char* finding;
  NumberFormat reduce = NumberFormat::Fp32;
  int measuring = 0;
};

void erase_first(Plan& plan, const std::function<bool(const Action&)>& which) {
  const auto at = std::ranges::find_if(plan.actions, which);
  ASSERT_NE(at, plan.actions.end());
  at->kind = ActionKind::Evict;  // indices stay
  at->lane = Lane::Compute;
  at->slots.clear();
}

// `first` of that kind stands in front of `second`, which comes later.
void move_in_front(Plan& plan, ActionKind first, ActionKind second) {
  const auto of = [&](ActionKind kind) { return std::ranges::find(plan.actions, kind, &Action::kind); };
  std::swap(*of(first), *of(second));
}

auto is(ActionKind kind, Lane lane) {
  return [=](const Action& action) { return action.kind == kind && action.lane == lane; };
}

TEST(Checker, FindsEveryWayToBreakTheRulesOfRanks) {
  const std::vector<Broken> all = {
      {"no gather",
       {2, 3},
       UpdateWhen::NextForward,
       [](Plan& plan) { erase_first(plan, is(ActionKind::AllGather, Lane::Communication)); },
       "was not gathered since the last update"},
      {"part not shared",
       {2, 1},
       UpdateWhen::Backward,
       [](Plan& plan) { erase_first(plan, is(ActionKind::AllGather, Lane::Communication)); },
       "of which only this rank's part is known"},
      {"not summed",
       {2, 2},
       UpdateWhen::NextForward,
       [](Plan& plan) { erase_first(plan, is(ActionKind::ReduceScatter, Lane::Communication)); },
       "is read before ranks have summed it"},
      {"not summed, whole",
       {2, 0},
       UpdateWhen::Sweep,
       [](Plan& plan) { erase_first(plan, is(ActionKind::AllReduce, Lane::Communication)); },
       "is read before ranks have summed it"},
      {"not agreed",
       {2, 2},
       UpdateWhen::SecondPass,
       [](Plan& plan) { erase_first(plan, is(ActionKind::AllReduce, Lane::Compute)); },
       "waits for a norm on which ranks have not agreed"},
      {"never agreed",
       {2, 2},
       UpdateWhen::NextForward,
       [](Plan& plan) { erase_first(plan, is(ActionKind::AllReduce, Lane::Compute)); },
       "the period ends with norms on which ranks have not agreed"},
      {"skipped for a reason of its own",
       {2, 1},
       UpdateWhen::Backward,
       [](Plan& plan) {
         std::ranges::find_if(plan.actions, is(ActionKind::AllGather, Lane::Communication))->skip =
             SkipWhen::BlockNotFinite;
       },
       "for a reason that ranks may not share"},
      {"summed twice",
       {2, 1},
       UpdateWhen::NextForward,
       [](Plan& plan) {
         const auto sum = std::ranges::find_if(plan.actions, is(ActionKind::ReduceScatter, Lane::Communication));
         const auto norm = std::ranges::find_if(plan.actions, [&](const Action& action) {
           return action.kind == ActionKind::ReduceNorm && action.chunk == sum->chunk;
         });
         const auto dependencies = norm->dependencies;
         *norm = *sum;
         norm->dependencies = dependencies;
       },
       "is summed over ranks twice"},
      {"not summed across groups",
       {4, 1, 2},
       UpdateWhen::NextForward,
       [](Plan& plan) { erase_first(plan, is(ActionKind::AllReduce, Lane::Communication)); },
       "is read before ranks have summed it"},
      {"not summed within the group",
       {4, 2, 2},
       UpdateWhen::NextForward,
       [](Plan& plan) { erase_first(plan, is(ActionKind::ReduceScatter, Lane::Communication)); },
       "before its group has summed it"},
      {"sum not made whole",
       {4, 0, 2},
       UpdateWhen::NextForward,
       [](Plan& plan) { erase_first(plan, is(ActionKind::AllGather, Lane::Communication)); },
       "though only this rank's part is the sum"},
      {"gathered from the wrong ranks",
       {4, 3, 2},
       UpdateWhen::NextForward,
       [](Plan& plan) {
         std::ranges::find_if(plan.actions, is(ActionKind::AllGather, Lane::Communication))->among = Among::Replicas;
       },
       "gathers parts from ranks that have the same"},
      {"among all",
       {4, 1, 2},
       UpdateWhen::NextForward,
       [](Plan& plan) {
         std::ranges::find_if(plan.actions, is(ActionKind::ReduceScatter, Lane::Communication))->among = Among::All;
       },
       "is among other ranks"},
      {"narrow weights",
       {2, 3},
       UpdateWhen::NextForward,
       [](Plan& plan) {
         std::ranges::find_if(plan.actions, is(ActionKind::AllGather, Lane::Communication))->wire = NumberFormat::Bf16;
       },
       "is narrowed, though it is still needed in fp32"},
      {"narrow in memory that is only read",
       {2, 2},
       UpdateWhen::NextForward,
       [](Plan& plan) {
         std::ranges::find_if(plan.actions, is(ActionKind::ReduceScatter, Lane::Communication))->slots.front().access =
             Access::Read;
       },
       "is narrowed, though it is still needed in fp32",
       NumberFormat::Bf16},
      {"nothing kept of what one bit does not say",
       {2, 1},
       UpdateWhen::NextForward,
       [](Plan& plan) {
         std::ranges::find_if(plan.actions, is(ActionKind::ReduceScatter, Lane::Communication))->slots.back().access =
             Access::Read;
       },
       "does not keep what is not sent",
       NumberFormat::OneBit},
      {"another chunk's residual",
       {2, 3},
       UpdateWhen::Backward,
       [](Plan& plan) {
         plan.buffers[std::ranges::find_if(plan.actions, is(ActionKind::ReduceScatter, Lane::Communication))
                          ->slots.back()
                          .buffer]
             .chunk += 1;
       },
       "does not keep what is not sent",
       NumberFormat::OneBit},
      {"no place for what others send",
       {4, 0},
       UpdateWhen::Sweep,
       [](Plan& plan) {
         const auto sum = std::ranges::find_if(plan.actions, is(ActionKind::AllReduce, Lane::Communication));
         plan.buffers[sum->slots[1].buffer].bytes /= 2;
       },
       "has no room for what ranks send",
       NumberFormat::OneBit},
      {"sums not taken over",
       {2, 1},
       UpdateWhen::NextForward,
       [](Plan& plan) { erase_first(plan, is(ActionKind::Recv, Lane::Compute)); },
       "measures before it has the sums of the rank before",
       NumberFormat::Fp32,
       1},
      {"sums not handed on",
       {2, 2},
       UpdateWhen::Sweep,
       [](Plan& plan) { erase_first(plan, is(ActionKind::Send, Lane::Compute)); },
       "shares sums that were not handed on",
       NumberFormat::Fp32,
       1},
      {"sums handed on too early",
       {2, 3},
       UpdateWhen::NextForward,
       [](Plan& plan) { move_in_front(plan, ActionKind::Send, ActionKind::Update); },
       "hands on sums that lack slices",
       NumberFormat::Fp32,
       1},
      {"sums not shared",
       {2, 3},
       UpdateWhen::NextForward,
       [](Plan& plan) { erase_first(plan, is(ActionKind::Broadcast, Lane::Compute)); },
       "needs sums that ranks have not shared",
       NumberFormat::Fp32,
       2},
      {"sums that a skipped update lacks",
       {2, 1},
       UpdateWhen::Backward,
       [](Plan& plan) {
         std::ranges::find_if(plan.actions, is(ActionKind::Send, Lane::Compute))->skip = SkipWhen::Never;
       },
       "is skipped when its sums are not",
       NumberFormat::Fp32,
       1},
      {"an exchange between",
       {2, 1},
       UpdateWhen::NextForward,
       [](Plan& plan) {
         const auto receive = std::ranges::find_if(plan.actions, is(ActionKind::Recv, Lane::Compute));
         const auto gather = std::ranges::find_if(plan.actions, is(ActionKind::AllGather, Lane::Communication));
         std::swap(*std::next(receive), *gather);
       },
       "an exchange while ranks wait for each other's sums",
       NumberFormat::Fp32,
       1},
      {"not added up",
       {2, 2, 0, true},
       UpdateWhen::NextForward,
       [](Plan& plan) { erase_first(plan, is(ActionKind::ReduceScatter, Lane::Communication)); },
       "is never added up"},
      {"added up in another order",
       {2, 2, 0, true},
       UpdateWhen::NextForward,
       [](Plan& plan) {
         std::ranges::find_if(plan.actions, is(ActionKind::ReduceScatter, Lane::Communication))->kind =
             ActionKind::AllReduce;
       },
       "adds ranks up in another than the fixed order"},
      {"added to a sum of another period",
       {1, 1, 0, true},
       UpdateWhen::Backward,
       [](Plan& plan) {
         auto& join = *std::ranges::find_if(plan.actions, is(ActionKind::ReduceScatter, Lane::Communication));
         join.slots.back().access = Access::ReadWrite;
       },
       "begins a sum without replacing what was"},
      {"gradients of two micro-batches in one",
       {2, 1, 0, true},
       UpdateWhen::NextForward,
       [](Plan& plan) {
         for (Slot& slot : std::ranges::find(plan.actions, ActionKind::Backward, &Action::kind)->slots)
           if (plan.buffers[slot.buffer].kind == BufferKind::Gradient) slot.access = Access::ReadWrite;
       },
       "adds to the gradient of another micro-batch"},
      {"whole gradient never gathered",
       {2, 0, 0, true},
       UpdateWhen::NextForward,
       [](Plan& plan) {
         erase_first(plan, [&](const Action& action) {
           return action.kind == ActionKind::AllGather &&
                  plan.buffers[action.slots.front().buffer].kind == BufferKind::Gradient;
         });
       },
       "is read before its parts are gathered"},
      {"alone",
       {2, 1},
       UpdateWhen::NextForward,
       [](Plan& plan) { plan.sharding = {}; },
       "an exchange of ranks in a plan of one"},
  };
  for (const Broken& broken : all) {
    Planned p = planned(broken.sharding, broken.update, 1, broken.reduce, broken.measuring);
    ASSERT_TRUE(check_plan(p.plans.train, p.machine).empty()) << broken.name;
    broken.break_it(p.plans.train);
    const auto faults = check_plan(p.plans.train, p.machine);
    EXPECT_TRUE(std::ranges::any_of(
        faults, [&](const std::string& fault) { return fault.find(broken.finding) != std::string::npos; }))
        << broken.name << ": " << (faults.empty() ? "nothing found" : faults.front());
  }
}

}  // namespace
}  // namespace sluice::plan
