// Reading and writing training state wherever the plan lets it wait.
#include "exec/state.h"

#include <gtest/gtest.h>

#include "exec/small_training.h"

namespace sluice::exec {
namespace {

class StatePlaces : public testing::TestWithParam<const char*> {
 protected:
  static TracedWork traced() { return TracedWork(Workload{.tied = false}); }
};

TEST_P(StatePlaces, GivesBackAnyRangeOfWhatWasWritten) {
  const TracedWork work = traced();
  Place place{.store = GetParam()};
  if (!place.store.empty()) place.capacity = work.floor(place);
  Training training(work, place);
  std::uint64_t seed = 1;
  for (int moment = -1; moment < 2; ++moment) {
    const plan::BufferKind kind = moment < 0 ? plan::BufferKind::Weight : plan::BufferKind::Moment;
    for (int chunk = 0; chunk < static_cast<int>(work.trace.chunks.size()); ++chunk, ++seed) {
      const std::int64_t count = work.trace.chunks[chunk].num_elements;
      const tier::Arena memory(round_up(count * static_cast<Bytes>(sizeof(float)), 4096));
      const std::span written(reinterpret_cast<float*>(memory.data()), static_cast<std::size_t>(count));
      for (std::int64_t i = 0; i < count; ++i) written[i] = static_cast<float>(mix(seed, i) >> 40);
      for (std::int64_t first = 0; first < count; first += State::kPiece)
        training.state().write(kind, chunk, moment, first,
                               written.subspan(first, std::min(State::kPiece, count - first)));
      for (std::uint64_t draw = 0; draw < 20; ++draw) {
        const auto first = static_cast<std::int64_t>(mix(seed, 1000 + draw) % static_cast<std::uint64_t>(count));
        const auto length =
            1 + static_cast<std::int64_t>(mix(seed, 2000 + draw) % static_cast<std::uint64_t>(count - first));
        std::vector<float> read(static_cast<std::size_t>(length));
        training.state().read(kind, chunk, moment, first, read);
        EXPECT_TRUE(std::equal(read.begin(), read.end(), written.begin() + first)) << chunk << " " << moment;
      }
    }
  }
}

TEST_P(StatePlaces, RefusesARangeOutsideTheChunk) {
  const TracedWork work = traced();
  Training training(work, {.store = GetParam()});
  std::vector<float> values(2);
  const std::int64_t end = work.trace.chunks[0].num_elements;
  EXPECT_THROW(training.state().read(plan::BufferKind::Weight, 0, -1, end - 1, values), InternalError);
}

INSTANTIATE_TEST_SUITE_P(Stores, StatePlaces, testing::Values("", "null", "disk"),
                         [](const auto& shown) { return std::string(*shown.param != 0 ? shown.param : "none"); });

TEST(State, NeedsAStoreForAPlanThatMoves) {
  const TracedWork work(Workload{});
  Place place{.store = "null"};
  place.capacity = work.floor(place);
  const plan::PlanSet plans = plan::make_plan(work.trace, machine_for(place), work.request(place)).plans.value();
  tier::Arena arena(round_up(plans.arena_peak[0], 4096));
  EXPECT_THROW(State(plans, {arena.data()}, nullptr), InternalError);
}

TEST(State, SaysWhenTheStoreIsFull) {
  const TracedWork work(Workload{});
  Place place{.store = "null"};
  place.capacity = work.floor(place);
  const plan::PlanSet plans = plan::make_plan(work.trace, machine_for(place), work.request(place)).plans.value();
  tier::Arena arena(round_up(plans.arena_peak[0], 4096));
  const auto store = tier::make_null_store(plans.arena_peak[1] / 2);
  EXPECT_THROW(State(plans, {arena.data()}, store.get()), CapacityError);
  const auto enough = tier::make_null_store(plans.arena_peak[1]);
  EXPECT_NO_THROW(State(plans, {arena.data()}, enough.get()));
  EXPECT_EQ(enough->info().used, plans.arena_peak[1]);
}

}  // namespace
}  // namespace sluice::exec
