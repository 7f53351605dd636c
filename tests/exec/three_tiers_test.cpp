// An emulated device in front of the host, with and without a store below: the same bits as in one arena, and on every
// tier the memory that the plan said.
#include <gtest/gtest.h>

#include "base/fail_point.h"
#include "exec/small_training.h"
#include "plan/checker.h"

namespace sluice::exec {
namespace {

// What `place` needs of the host at least.
Bytes least_host(const TracedWork& work, const Place& place) {
  plan::Machine machine = machine_for(place);
  machine.tiers[1].capacity = 4096;
  const plan::PlanResult result = plan::make_plan(work.trace, machine, work.request(place));
  EXPECT_EQ(result.short_tier, 1);
  return result.needed;
}

// A device and a host that hardly hold what passes through them, more of one, more of the other, and no store.
std::vector<Place> places_with_device(const TracedWork& work) {
  std::vector<Place> found;
  for (const int update_tier : {1, 0}) {
    Place place{.store = "null", .host = kPlenty, .update_tier = update_tier};
    place.capacity = work.floor(place);
    found.push_back(place);
    place.capacity = round_up(place.capacity * 5 / 4, 4096);
    place.host = least_host(work, place);
    found.push_back(place);
    place.host += MiB;
    place.store = update_tier == 1 ? "disk" : "null";
    found.push_back(place);
    Place without{.host = kPlenty, .update_tier = update_tier};
    without.capacity = work.floor(without);
    found.push_back(without);
  }
  return found;
}

void expect_correct_plans(const Training& training) {
  const plan::PlanSet& plans = training.plans();
  for (const plan::Plan* plan : {&plans.train, &plans.flush, &*plans.evaluate}) {
    const auto violations = plan::check_plan(*plan, training.machine(), plan == &plans.train ? nullptr : &plans.train);
    EXPECT_TRUE(violations.empty()) << plan::name(plan->variant) << ": " << violations.front();
  }
}

class ThreeTiers : public testing::TestWithParam<Workload> {};

void PrintTo(const Workload& work, std::ostream* out) {
  *out << (work.tied ? "tied" : "untied") << work.num_layers << "layers" << work.accumulation
       << (work.update == plan::UpdateWhen::Backward ? "backward" : "forward");
}

TEST_P(ThreeTiers, GiveTheBitsOfOneAndUseTheMemoryThatWasPlanned) {
  const TracedWork work(GetParam());
  Training plain(work, {});
  const Outcome expected = plain.run();
  const double loss = plain.evaluate();
  bool used_disk = false;
  for (const Place& place : places_with_device(work)) {
    SCOPED_TRACE("device " + std::to_string(place.capacity) + ", host " + std::to_string(place.host) + ", store '" +
                 place.store + "', updates in tier " + std::to_string(place.update_tier));
    Training training(work, place);
    expect_correct_plans(training);
    EXPECT_TRUE(training.run() == expected);
    EXPECT_EQ(training.evaluate(), loss);
    EXPECT_TRUE(training.read_weights() == expected.weights);
    EXPECT_TRUE(training.read_moments() == expected.moments);
    for (const int tier : {0, 1}) {
      EXPECT_EQ(training.executor().arena_peak(tier), training.plans().arena_peak[tier]);
      EXPECT_LE(training.executor().arena_peak(tier), training.machine().tiers[tier].capacity);
    }
    used_disk = used_disk || (training.store() != nullptr && training.store()->bytes_written() > 0);
  }
  EXPECT_TRUE(used_disk) << "no host was small enough";
}

TEST_P(ThreeTiers, AreNotChangedByEvaluatingAndFlushingBetweenSteps) {
  const TracedWork work(GetParam());
  const Outcome expected = Training(work, {}).run();
  for (const Place& place : places_with_device(work)) {
    Training training(work, place);
    training.evaluate();
    training.step();
    training.flush();
    training.step();
    training.flush();
    const double loss = training.evaluate();
    EXPECT_EQ(training.evaluate(), loss);
    training.step();
    EXPECT_TRUE(training.finish() == expected) << place.capacity << " " << place.host;
  }
}

INSTANTIATE_TEST_SUITE_P(Workloads, ThreeTiers,
                         testing::Values(Workload{.tied = true, .accumulation = 1},
                                         Workload{.tied = false, .num_layers = 3, .accumulation = 2},
                                         Workload{.tied = true, .num_layers = 3, .accumulation = 2, .adapter = true},
                                         Workload{.num_layers = 3, .freeze = {"*.layers.0.*", "*.q_proj.*"}},
                                         Workload{.num_layers = 3, .accumulation = 2, .rule = "muon"},
                                         Workload{.num_layers = 3,
                                                  .accumulation = 2,
                                                  .compute = NumberFormat::Bf16,
                                                  .weights = {NumberFormat::Bf16, optim::Master::Fp32}},
                                         Workload{.weights = {NumberFormat::Fp8, optim::Master::Fp32}},
                                         Workload{
                                             .tied = true, .accumulation = 2, .update = plan::UpdateWhen::Backward}));

TEST(ThreeTierTraining, EndsInAnIoErrorWhenTheDeviceFails) {
  const TracedWork work(Workload{.tied = true});
  Place place{.store = "null", .host = kPlenty};
  place.capacity = work.floor(place);
  for (const int call : {1, 4, 9}) {
    Training training(work, place);
    set_fail_points("device.copy@" + std::to_string(call) + "=EIO");
    EXPECT_THROW(training.run(), IoError) << "call " << call;
    EXPECT_THROW(training.executor().drain(), IoError);
    set_fail_points("");
  }
}

TEST(ThreeTierTraining, ShowsCopiesInItsTimeline) {
  const TracedWork work(Workload{.tied = true});
  Place place{.store = "null", .host = kPlenty};
  place.capacity = work.floor(place);
  Training training(work, place);
  training.step();
  training.step();
  training.executor().drain();
  std::array<int, plan::kNumLanes> spans{};
  for (const plan::Span& span : training.executor().timeline().spans)
    ++spans[static_cast<int>(training.plans().train.actions[span.action].lane)];
  EXPECT_GT(spans[static_cast<int>(plan::Lane::HostToDevice)], 0);
  EXPECT_GT(spans[static_cast<int>(plan::Lane::DeviceToHost)], 0);
}

}  // namespace
}  // namespace sluice::exec
