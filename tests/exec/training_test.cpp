// The same three steps at every budget, on every store, with every schedule: not one bit differs, and memory is what
// the plan said.
#include <gtest/gtest.h>

#include <set>
#include <utility>

#include "exec/small_training.h"
#include "plan/checker.h"

namespace sluice::exec {
namespace {

constexpr optim::WeightPrecision kBf16{.weights = NumberFormat::Bf16}, kFp8{NumberFormat::Fp8, optim::Master::Fp32};

void expect_correct_plans(const Training& training) {
  const plan::PlanSet& plans = training.plans();
  for (const plan::Plan* plan : {&plans.train, &plans.flush, &*plans.evaluate}) {
    const auto violations = plan::check_plan(*plan, training.machine(), plan == &plans.train ? nullptr : &plans.train);
    EXPECT_TRUE(violations.empty()) << plan::name(plan->variant) << ": " << violations.front();
  }
}

// Where bits may not depend on: from everything in memory down to the least that works.
std::vector<Place> places(const TracedWork& work) {
  std::vector<Place> found = {{.activations = plan::Activations::Keep},
                              {.activations = plan::Activations::Recompute},
                              {.store = "disk", .activations = plan::Activations::Spill}};
  const Bytes floor = work.floor({.store = "null"});
  for (const double factor : {1.0, 1.03, 1.15, 1.5, 2.0, 3.0}) {
    const Bytes capacity = round_up(static_cast<Bytes>(static_cast<double>(floor) * factor), 4096);
    found.push_back({capacity, "null"});
    if (factor == 1.0 || factor == 1.5) found.push_back({capacity, "disk"});
  }
  for (const plan::Activations activations :
       {plan::Activations::Keep, plan::Activations::Spill, plan::Activations::Recompute}) {
    Place least{.store = "null", .activations = activations};
    least.capacity = work.floor(least);
    found.push_back(least);
  }
  found.push_back({work.floor({}), ""});
  return found;
}

class TrainingBits : public testing::TestWithParam<Workload> {};

TEST_P(TrainingBits, AreTheSameAtEveryBudgetOnEveryStore) {
  const TracedWork work(GetParam());
  const Outcome expected = Training(work, {}).run();
  EXPECT_EQ(std::set(expected.losses.begin(), expected.losses.end()).size(), 3U) << "it does not learn";
  Bytes most_moved = 0;
  for (const Place& place : places(work)) {
    SCOPED_TRACE(std::to_string(place.capacity) + " bytes, store '" + place.store + "'");
    Training training(work, place);
    expect_correct_plans(training);
    const Outcome outcome = training.run();
    EXPECT_EQ(outcome.losses, expected.losses);
    EXPECT_EQ(outcome.norms, expected.norms);
    EXPECT_TRUE(outcome.weights == expected.weights);
    EXPECT_TRUE(outcome.moments == expected.moments);
    training.evaluate();
    EXPECT_EQ(training.executor().arena_peak(0), training.plans().arena_peak[0]);
    EXPECT_LE(training.executor().arena_peak(0), place.capacity);
    if (training.store() != nullptr) most_moved = std::max(most_moved, training.store()->bytes_read());
  }
  EXPECT_GT(most_moved, MiB) << "no place was small enough to move anything";
}

TEST_P(TrainingBits, AreNotChangedByEvaluatingAndFlushingBetweenSteps) {
  const TracedWork work(GetParam());
  const Outcome expected = Training(work, {}).run();
  for (const Place& place : {Place{}, Place{work.floor({.store = "null"}), "null"}}) {
    Training training(work, place);
    training.evaluate();
    training.step();
    training.flush();
    training.step();
    training.flush();
    const double loss = training.evaluate();
    EXPECT_EQ(training.evaluate(), loss);
    training.step();
    EXPECT_TRUE(training.finish() == expected);
  }
}

TEST_P(TrainingBits, OfWeightsAndMomentsAreLeftAloneByASkippedUpdate) {
  const TracedWork work(GetParam());
  for (const Place& place : {Place{}, Place{work.floor({.store = "null"}), "null"}}) {
    Training training(work, place);
    training.step();
    training.flush();
    const std::vector<float> weights = training.read_weights();
    const std::vector<std::byte> moments = training.read_moments();
    training.step(false);
    training.executor().drain();
    EXPECT_TRUE(training.read_weights() == weights);
    EXPECT_TRUE(training.read_moments() == moments);
  }
}

// A chunk of several slices and pieces, rules of several passes, states of every format.
TEST(Training, GivesTheSameBitsForEveryRuleAndFormatOfItsStates) {
  Bytes most_read = 0;
  for (const optim::RuleRow& row : optim::rule_catalog()) {
    for (const optim::StateFormat moments : {optim::StateFormat::Fp32, optim::StateFormat::Bf16}) {
      if (moments != optim::StateFormat::Fp32 && !row.make.bf16_states) continue;
      Workload workload{.vocab_size = 13001, .rule = std::string(row.name), .options = {.moments = moments}};
      if (row.make.in_backward) {
        workload.update = plan::UpdateWhen::Backward;
        workload.max_norm = 0;
      }
      const TracedWork work(workload);
      const Outcome expected = Training(work, {}).run();
      EXPECT_EQ(std::set(expected.losses.begin(), expected.losses.end()).size(), 3U) << "it does not learn";
      const Bytes floor = work.floor({.store = "disk"});
      for (const Bytes capacity : {floor, floor * 5 / 4 / 4096 * 4096}) {
        SCOPED_TRACE(workload.rule + " in " + std::to_string(capacity) + " bytes");
        Training training(work, {capacity, "disk"});
        expect_correct_plans(training);
        const Outcome outcome = training.run();
        EXPECT_EQ(outcome.losses, expected.losses);
        EXPECT_TRUE(outcome.weights == expected.weights);
        EXPECT_TRUE(outcome.moments == expected.moments);
        EXPECT_EQ(training.executor().arena_peak(0), training.plans().arena_peak[0]);
        most_read = std::max(most_read, training.store()->bytes_read());
      }
    }
  }
  EXPECT_GT(most_read, MiB) << "no place was small enough to move anything";
}

TEST(Training, GroupsHaveRatesOfTheirOwn) {
  Workload workload;
  const TracedWork plain(workload);
  workload.groups = {{"*norm*", 0.0, 0.0}, {"*.layers.0.*", 0.5, {}}};
  const TracedWork grouped(workload);
  const std::vector<float> start = Training(plain, {}).read_weights();
  const Outcome all = Training(plain, {}).run();
  const Outcome some = Training(grouped, {}).run();
  std::size_t first_of_chunk = 0;
  for (const plan::Chunk& chunk : plain.trace.chunks) {
    for (const plan::ParameterSlot& slot : chunk.parameters) {
      const std::size_t at = first_of_chunk + static_cast<std::size_t>(slot.first_element);
      const bool is_norm = slot.name.find("norm") != std::string::npos;
      EXPECT_NE(all.weights[at], start[at]) << slot.name;
      EXPECT_EQ(some.weights[at] == start[at], is_norm) << slot.name;
    }
    first_of_chunk += static_cast<std::size_t>(chunk.num_elements);
  }
  const Outcome frugal = Training(grouped, {grouped.floor({.store = "disk"}), "disk"}).run();
  EXPECT_TRUE(frugal.weights == some.weights);
}

// Between the floor and plenty plans differ most: what is held, prefetched, kept and skipped changes from size to size.
TEST(Training, GivesTheSameBitsAtManySizesOfTheArena) {
  const TracedWork work({.num_layers = 4, .accumulation = 2});
  const Outcome expected = Training(work, {}).run();
  const Bytes floor = work.floor({.store = "null"});
  for (int i = 0; i < 24; ++i) {
    const Bytes capacity = round_up(floor + floor * i / 8, 4096);
    EXPECT_TRUE(Training(work, {capacity, "null"}).run() == expected) << capacity << " bytes";
  }
}

// Every set of classes, in memory and spilled: what is not saved is made again, what is saved comes back from anywhere.
TEST(Training, GivesTheSameBitsForEverySetOfSavedClasses) {
  const TracedWork work({.num_layers = 4, .accumulation = 2});
  const Outcome expected = Training(work, {}).run();
  const Bytes tight = work.floor({.store = "null"}) * 5 / 4 / 4096 * 4096;
  Bytes spilled = 0;
  for (const plan::SavedMask classes : {1U, 2U, 3U}) {
    for (const int num_last : {0, 1}) {
      for (const Bytes capacity : {tight, kPlenty}) {
        const bool on_disk = classes == 3 && num_last == 0;
        Place place{.capacity = capacity, .store = on_disk ? "disk" : "null"};
        place.saving = plan::SavingPattern{num_last, 3, classes};
        Training training(work, place);
        expect_correct_plans(training);
        EXPECT_TRUE(training.run() == expected) << classes << " of " << num_last;
        EXPECT_EQ(training.executor().arena_peak(0), training.plans().arena_peak[0]);
        spilled += plan::summarize_activations(training.plans().train, work.trace).spilled_bytes;
      }
    }
  }
  EXPECT_GT(spilled, 0);
}

// A table of more than 32 MiB is several chunks, and with little memory the loss block several rows.
TEST(Training, GivesTheSameBitsWithAVocabularyInPieces) {
  for (const auto& [family, tied] : {std::pair{"llama", true}, {"gpt2", false}}) {
    const TracedWork work({.family = family, .tied = tied, .num_layers = 1, .vocab_size = 140'001, .accumulation = 2});
    Outcome expected;
    double evaluated = 0;
    {
      Training whole(work, {});
      EXPECT_FALSE(whole.plans().train.loss_in_segments);
      evaluated = whole.evaluate();
      expected = whole.run();
    }
    const Bytes floor = work.floor({.store = "null"}), piece = work.trace.chunks[0].num_elements * Bytes{4};
    EXPECT_LT(floor, 3 * piece) << "two pieces with their gradients need not be in memory together";
    for (const auto& [factor, group_size] : {std::pair{1.0, 0}, {1.2, 1}}) {
      const Bytes capacity = round_up(static_cast<Bytes>(factor * static_cast<double>(floor)), 4096);
      SCOPED_TRACE(std::string(family) + " " + std::to_string(capacity));
      Training training(work, {capacity, "null", plan::Activations::Auto, group_size});
      EXPECT_TRUE(training.plans().train.loss_in_segments);
      expect_correct_plans(training);
      EXPECT_EQ(training.evaluate(), evaluated);
      EXPECT_TRUE(training.run() == expected);
      EXPECT_EQ(training.executor().arena_peak(0), training.plans().arena_peak[0]);
    }
  }
}

// In groups of micro-batches, and with boundaries made again, the same numbers are added in the same order.
TEST(Training, GivesTheSameBitsInEveryOrderOfMicroBatchesAndBlocks) {
  for (const plan::UpdateWhen update :
       {plan::UpdateWhen::NextForward, plan::UpdateWhen::Backward, plan::UpdateWhen::SecondPass}) {
    for (const bool tied : {true, false}) {
      const TracedWork work({.tied = tied, .num_layers = 5, .accumulation = 5, .update = update});
      const Outcome expected = Training(work, {.group_size = 5, .boundary_stride = 1}).run();
      for (const auto& [group_size, stride] : {std::pair{1, 1}, {2, 1}, {5, 2}, {1, 2}}) {
        SCOPED_TRACE("groups of " + std::to_string(group_size) + ", stride " + std::to_string(stride));
        Place place{.store = "null", .group_size = group_size, .boundary_stride = stride};
        if (stride > 1) place.activations = plan::Activations::Recompute;
        place.capacity = work.floor(place) * (stride > 1 ? 4 : 6) / 4;
        Training training(work, place);
        EXPECT_EQ(training.plans().train.group_size, group_size);
        EXPECT_TRUE(training.run() == expected);
        EXPECT_EQ(training.executor().arena_peak(0), training.plans().arena_peak[0]);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Workloads, TrainingBits,
    testing::Values(
        Workload{.tied = true, .accumulation = 1}, Workload{.tied = false, .accumulation = 2},
        Workload{.tied = true, .num_layers = 3, .accumulation = 3},
        Workload{.tied = true, .accumulation = 2, .update = plan::UpdateWhen::Backward},
        Workload{.tied = false, .num_layers = 3, .update = plan::UpdateWhen::Backward},
        Workload{.tied = true, .num_layers = 3, .accumulation = 2, .update = plan::UpdateWhen::SecondPass},
        Workload{.tied = false, .accumulation = 3, .update = plan::UpdateWhen::Sweep},
        Workload{.family = "gpt2", .tied = true, .num_layers = 3, .accumulation = 2},
        Workload{.tied = true, .num_layers = 3, .accumulation = 2, .adapter = true},
        Workload{.family = "gpt2", .tied = true, .adapter = true},
        Workload{.tied = true,
                 .num_layers = 3,
                 .accumulation = 2,
                 .update = plan::UpdateWhen::SecondPass,
                 .adapter = true,
                 .base_rule = "lomo"},
        Workload{.tied = false,
                 .accumulation = 2,
                 .update = plan::UpdateWhen::Backward,
                 .freeze = {"*embed_tokens*", "*.layers.0.*.lora_A.*"},
                 .adapter = true,
                 .base_rule = "adalomo"},
        Workload{.family = "gpt2", .tied = true, .rule = "lamb", .adapter = true, .base_rule = "adamw"},
        Workload{.tied = true, .num_layers = 3, .accumulation = 2, .rule = "muon"},
        Workload{.family = "gpt2", .accumulation = 2, .update = plan::UpdateWhen::Sweep, .rule = "muon"},
        Workload{.tied = false,
                 .update = plan::UpdateWhen::Backward,
                 .rule = "muon",
                 .options = {.moments = optim::StateFormat::Bf16},
                 .freeze = {"*.layers.0.*", "*.q_proj.*"}},
        Workload{.update = plan::UpdateWhen::SecondPass, .rule = "muon", .adapter = true, .dora = true},
        Workload{.tied = true, .num_layers = 3, .accumulation = 2, .adapter = true, .dora = true},
        Workload{
            .family = "gpt2", .update = plan::UpdateWhen::Backward, .adapter = true, .dora = true, .base_rule = "lomo"},
        Workload{.tied = true,
                 .num_layers = 3,
                 .accumulation = 2,
                 .freeze = {"*.layers.0.*", "*embed_tokens*", "*.2.*.q_proj.*", "*up_proj*"}},
        Workload{.tied = false,
                 .num_layers = 3,
                 .update = plan::UpdateWhen::Backward,
                 .freeze = {"lm_head.weight", "*layernorm*", "*.down_proj.*"}},
        Workload{.num_layers = 3, .accumulation = 2, .compute = NumberFormat::Bf16},
        Workload{.family = "gpt2",
                 .tied = false,
                 .update = plan::UpdateWhen::Backward,
                 .adapter = true,
                 .dora = true,
                 .base_rule = "lomo",
                 .compute = NumberFormat::Bf16},
        Workload{.num_layers = 3, .accumulation = 2, .compute = NumberFormat::Bf16, .weights = kBf16},
        Workload{.family = "gpt2",
                 .rule = "lamb",
                 .compute = NumberFormat::Bf16,
                 .weights = {NumberFormat::Bf16, optim::Master::Fp32}},
        Workload{.tied = false, .num_layers = 3, .accumulation = 2, .weights = kFp8},
        Workload{.family = "gpt2", .update = plan::UpdateWhen::Backward, .rule = "adalomo", .weights = kFp8},
        Workload{
            .rule = "muon", .freeze = {"*.layers.0.*", "*up_proj*"}, .compute = NumberFormat::Bf16, .weights = kFp8}));

// What memory holds in fewer bits is computed with as the fp32 numbers that it stands for.
TEST(Training, OfWeightsHeldInFewerBitsHasTheBitsOfTheirNumbersInFp32) {
  for (const optim::WeightPrecision& weights : {kBf16, kFp8}) {
    for (const char* const family : {"llama", "gpt2"}) {
      for (const NumberFormat compute : {NumberFormat::Fp32, NumberFormat::Bf16}) {
        Workload work{.family = family, .accumulation = 2, .compute = compute, .weights = weights};
        SCOPED_TRACE(testing::PrintToString(work));
        const TracedWork narrow(work);
        work.holds = false;
        const TracedWork wide(work);
        const Outcome outcome = Training(narrow, {}).run(), expected = Training(wide, {}).run();
        EXPECT_EQ(outcome.losses, expected.losses);
        for (std::size_t step = 0; step < expected.norms.size(); ++step)  // chunks, and so blocks of sums, are others
          EXPECT_NEAR(outcome.norms[step], expected.norms[step], 1e-9 * expected.norms[step]);
        EXPECT_LT(Training(narrow, {}).plans().arena_peak[0], Training(wide, {}).plans().arena_peak[0]);
      }
    }
  }
}

TEST(Training, WithProductsOfBf16NumbersStaysNearFp32) {
  const TracedWork wide({.num_layers = 3}), narrow({.num_layers = 3, .compute = NumberFormat::Bf16});
  const Outcome expected = Training(wide, {}).run(), outcome = Training(narrow, {}).run();
  for (std::size_t step = 0; step < expected.losses.size(); ++step) {
    EXPECT_NE(outcome.losses[step], expected.losses[step]);
    EXPECT_NEAR(outcome.losses[step] / expected.losses[step], 1, 0x1p-7);
  }
  EXPECT_NEAR(outcome.norms[0] / expected.norms[0], 1, 0x1p-7);
}

// From the first chunk to the last: what is frozen, and what is not.
std::vector<std::vector<float>> weights_of(Training& training) {
  std::vector<std::vector<float>> weights;
  for (int chunk = 0; chunk < training.num_chunks(); ++chunk) weights.push_back(training.read_weights(chunk));
  return weights;
}

TEST(Training, LeavesEveryByteOfAFrozenChunkAsItWasAndNeedsLessForIt) {
  const Workload whole{.num_layers = 3, .accumulation = 2};
  Workload adapted = whole, frozen = whole;
  adapted.adapter = true;
  frozen.freeze = {"*.layers.0.*", "*embed_tokens*", "*.q_proj.*"};
  const TracedWork everything(whole);
  const plan::PlanSet full = Training(everything, {everything.floor({.store = "disk"}), "disk"}).plans();
  for (const Workload& workload : {adapted, frozen}) {
    const TracedWork work(workload);
    const Bytes floor = work.floor({.store = "disk"});
    EXPECT_LT(floor, everything.floor({.store = "disk"}));
    Training training(work, {floor, "disk"});
    EXPECT_LT(training.plans().arena_peak.back(), full.arena_peak.back() * 3 / 4) << "bytes on disk";
    EXPECT_LT(training.plans().predicted.disk_written, full.predicted.disk_written);
    const auto before = weights_of(training);
    training.run();
    const auto after = weights_of(training);
    for (std::size_t chunk = 0; chunk < before.size(); ++chunk)
      EXPECT_EQ(before[chunk] == after[chunk], !work.trace.chunks[chunk].trained) << work.trace.chunks[chunk].name;
  }
}

TEST(Training, GivesTheSameBitsInBothUpdateOrdersWithoutClipping) {
  for (const bool tied : {true, false}) {
    const TracedWork forward({.tied = tied, .accumulation = 2, .max_norm = 0});
    const TracedWork backward({.tied = tied, .accumulation = 2, .update = plan::UpdateWhen::Backward, .max_norm = 0});
    EXPECT_TRUE(Training(forward, {}).run() == Training(backward, {}).run());
  }
}

// Blocks look up what they are given.
TEST(Period, RefusesATokenOrLabelBeyondTheVocabulary) {
  const TracedWork work({});
  for (const bool label : {false, true}) {
    Training training(work, {});
    Tokens tokens(1, work.work.vocab_size);
    const std::vector<model::MicroBatch> batches = {tokens.batch()};
    (label ? batches[0].labels : batches[0].input_ids)[0][2] = work.work.vocab_size;
    EXPECT_THROW(training.executor().run(*training.plans().evaluate, {.micro_batches = batches, .update = {}}),
                 InternalError);
  }
}

}  // namespace
}  // namespace sluice::exec
