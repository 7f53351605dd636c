// Clipping and overflow, whenever updates run: a coefficient found in the step itself gives the bits of one found in
// the step before, and a gradient that is not finite changes nothing.
#include <gtest/gtest.h>

#include <cmath>

#include "base/fail_point.h"
#include "exec/small_training.h"

namespace sluice::exec {
namespace {

using optim::ClipKind;
using plan::UpdateWhen;

Outcome outcome_of(const Workload& work, const Place& place = {}) {
  const TracedWork traced(work);
  return Training(traced, place).run();
}

TEST(Clipping, ByTheWholeNormGivesTheSameBitsInASecondPassInASweepAndInTheNextForward) {
  for (const char* rule : {"adamw", "sgd"}) {
    for (const bool tied : {true, false}) {
      Workload work{.tied = tied, .num_layers = 3, .accumulation = 2, .max_norm = 0.05, .rule = rule};
      const Outcome expected = outcome_of(work);
      EXPECT_GT(expected.norms[0], 0.1) << "nothing is clipped";
      work.update = UpdateWhen::SecondPass;
      EXPECT_TRUE(outcome_of(work) == expected) << rule;
      work.update = UpdateWhen::Sweep;
      EXPECT_TRUE(outcome_of(work) == expected) << rule;
    }
  }
}

TEST(Clipping, ByTheWholeNormGivesTheSameBitsOnThreeTiers) {
  Workload work{.num_layers = 3, .accumulation = 2, .max_norm = 0.05};
  const Outcome expected = outcome_of(work);
  for (const UpdateWhen update : {UpdateWhen::SecondPass, UpdateWhen::Sweep}) {
    work.update = update;
    for (const int update_tier : {0, 1}) {
      const TracedWork traced(work);
      Place place{.store = "null", .host = 64 * MiB, .update_tier = update_tier};
      place.capacity = traced.floor(place) * 5 / 4 / 4096 * 4096;
      EXPECT_TRUE(Training(traced, place).run() == expected);
    }
  }
}

TEST(Clipping, ByBlocksBoundsEachBlocksOwnStep) {
  const Workload work{.tied = false,
                      .num_layers = 2,
                      .update = UpdateWhen::Backward,
                      .max_norm = 0.01,
                      .clip = ClipKind::Block,
                      .rule = "lomo"};
  const TracedWork traced(work);
  Training training(traced, {});
  const std::vector<float> before = training.read_weights();
  training.step();
  training.executor().drain();
  const std::vector<float> after = training.read_weights();
  std::vector<double> moved;  // per chunk: the square of its step, decay left out
  std::size_t first = 0;
  for (const plan::Chunk& chunk : traced.trace.chunks) {
    double& sum = moved.emplace_back(0);
    for (const plan::ParameterSlot& slot : chunk.parameters) {
      const double decay = slot.shape.size() < 2 ? 1 : 1 - 1e-2 * 0.1;
      for (std::int64_t i = 0; i < slot.num_elements; ++i) {
        const std::size_t at = first + static_cast<std::size_t>(slot.first_element + i);
        sum += std::pow(after[at] - before[at] * decay, 2);
      }
    }
    first += static_cast<std::size_t>(chunk.num_elements);
  }
  for (const plan::Block& block : traced.trace.blocks) {
    double sum = 0;
    for (const int chunk : block.chunks) sum += moved[chunk];
    EXPECT_NEAR(std::sqrt(sum), 1e-2 * 0.01, 2e-7) << block.name;  // rate times bound
  }
}

TEST(Clipping, ByBlocksGivesTheSameBitsInBackwardAndInASweep) {
  Workload work{.accumulation = 2, .update = UpdateWhen::Backward, .max_norm = 0.02, .clip = ClipKind::Block};
  const Outcome expected = outcome_of(work);
  work.update = UpdateWhen::Sweep;
  EXPECT_TRUE(outcome_of(work) == expected);
  work.max_norm = 0;
  EXPECT_FALSE(outcome_of(work) == expected);
}

// With plain descent the step of an element says what its gradient was.
TEST(Clipping, ByValueCutsEveryElementWheneverItIsApplied) {
  Workload work{.tied = false,
                .accumulation = 2,
                .update = UpdateWhen::Backward,
                .max_norm = 1e-3,
                .clip = ClipKind::Value,
                .rule = "sgd"};
  const Outcome expected = outcome_of(work);
  for (const UpdateWhen update : {UpdateWhen::NextForward, UpdateWhen::SecondPass, UpdateWhen::Sweep}) {
    work.update = update;
    EXPECT_TRUE(outcome_of(work) == expected) << name(update);
    EXPECT_TRUE(outcome_of(work, {TracedWork(work).floor({.store = "null"}), "null"}) == expected) << name(update);
  }
  work.max_norm = 1e9;
  const Outcome loose = outcome_of(work);
  work.max_norm = 0;
  EXPECT_TRUE(outcome_of(work) == loose);
  EXPECT_FALSE(loose == expected);
}

TEST(LossScale, OfAPowerOfTwoChangesNoBit) {
  for (const UpdateWhen update : {UpdateWhen::NextForward, UpdateWhen::SecondPass, UpdateWhen::Backward}) {
    for (const ClipKind clip : {ClipKind::Total, ClipKind::Block, ClipKind::Value}) {
      if (clip == ClipKind::Block && update == UpdateWhen::NextForward) continue;
      Workload work{.accumulation = 2, .update = update, .max_norm = 0.01, .clip = clip};
      const Outcome expected = outcome_of(work);
      work.loss_scale = 1024;
      EXPECT_TRUE(outcome_of(work) == expected) << name(update);
    }
  }
}

// One element of one gradient of the second step is infinite.
TEST(Overflow, FoundBeforeTheFirstUpdateChangesNothing) {
  for (const UpdateWhen update : {UpdateWhen::NextForward, UpdateWhen::SecondPass, UpdateWhen::Sweep}) {
    const Workload work{.tied = false, .num_layers = 2, .accumulation = 2, .update = update};
    const TracedWork traced(work);
    for (const Place& place : {Place{}, Place{traced.floor({.store = "null"}), "null"}}) {
      Training training(traced, place);
      training.step();
      training.flush();
      const auto weights = training.read_weights();
      const auto moments = training.read_moments();
      set_fail_points("exec.gradient@3=EIO");  // blocks 3, 2, 1, ... have two micro-batches each
      const StepResult result = training.step();
      set_fail_points("");
      EXPECT_FALSE(std::isfinite(result.sum_of_squares.value()));
      EXPECT_EQ(result.nonfinite_chunk, 2) << name(update);
      EXPECT_EQ(result.num_updates, 0);
      training.flush();
      EXPECT_TRUE(training.read_weights() == weights && training.read_moments() == moments) << name(update);
      training.step();
      EXPECT_TRUE(std::isfinite(training.finish().norms.back()));
    }
  }
}

TEST(Overflow, InBackwardLeavesTheBlocksOfTheBadGradientAlone) {
  const TracedWork traced({.tied = false, .num_layers = 2, .update = UpdateWhen::Backward, .max_norm = 0});
  Training training(traced, {});
  const std::vector<float> before = training.read_weights();
  set_fail_points("exec.gradient@2=EIO");  // of the second block from above
  const StepResult result = training.step();
  set_fail_points("");
  training.executor().drain();
  const std::vector<float> after = training.read_weights();
  EXPECT_EQ(result.nonfinite_chunk, 2);
  EXPECT_GT(result.num_updates, 0);
  for (const float value : after) EXPECT_TRUE(std::isfinite(value));
  std::size_t first = 0;
  for (int chunk = 0; chunk < 4; ++chunk) {
    const auto count = static_cast<std::size_t>(traced.trace.chunks[chunk].num_elements);
    const bool same = std::equal(after.begin() + first, after.begin() + first + count, before.begin() + first);
    EXPECT_EQ(same, chunk == 2) << chunk;
    first += count;
  }
}

}  // namespace
}  // namespace sluice::exec
