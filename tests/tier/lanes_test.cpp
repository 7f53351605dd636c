// Disk lanes playing plans written by hand: order, dependencies within and across periods, skipping, and failures that
// reach every waiting thread.
#include "tier/lanes.h"

#include <gtest/gtest.h>

#include "tier/store_cases.h"

namespace sluice::tier {
namespace {

constexpr Bytes kSize = 64 * KiB;
constexpr int kNumBuffers = 5, kNumPlaces = 2;  // fewer places in the arena than buffers: each is used again

plan::Action move(plan::ActionKind kind, plan::BufferId buffer, std::vector<plan::Dependency> dependencies) {
  const bool fetch = kind == plan::ActionKind::Fetch;
  const plan::Slot in_arena{.buffer = buffer, .tier = 0, .offset = buffer % kNumPlaces * kSize};
  const plan::Slot on_disk{.buffer = buffer, .tier = 1, .offset = -1};
  plan::Action action;
  action.kind = kind;
  action.lane = fetch ? plan::Lane::DiskRead : plan::Lane::DiskWrite;
  action.slots = fetch ? std::vector{on_disk, in_arena} : std::vector{in_arena, on_disk};
  action.dependencies = std::move(dependencies);
  return action;
}

/// Every buffer is fetched, changed and written back, through two places; a fetch waits until its place is free and
/// until the period before has written its buffer.
plan::Plan rotating_plan() {
  plan::Plan plan;
  for (int i = 0; i < kNumBuffers; ++i) {
    plan.buffers.push_back({.chunk = i, .bytes = kSize, .persistent = true});
    std::vector<plan::Dependency> free;
    for (int other = i % kNumPlaces; other < kNumBuffers; other += kNumPlaces)
      free.push_back({.action = 3 * other + 2, .previous_period = other >= i});
    plan.actions.push_back(move(plan::ActionKind::Fetch, i, free));
    plan::Action change;
    change.kind = plan::ActionKind::Update;
    change.chunk = i;
    change.slots = {{.buffer = i, .tier = 0, .offset = i % kNumPlaces * kSize}};
    change.skip = plan::SkipWhen::NoUpdate;
    change.dependencies = {{.action = 3 * i}};
    plan.actions.push_back(change);
    plan.actions.push_back(move(plan::ActionKind::WriteBack, i, {{.action = 3 * i + 1}}));
    plan.actions.back().skip = plan::SkipWhen::NoUpdate;
  }
  return plan;
}

/// Two disk lanes and this thread as the compute lane.
class LanesTest : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    store_ = make_store();
    for (int i = 0; i < kNumBuffers; ++i) objects_.push_back(store_->reserve(kSize, "buffer"));
    clear_objects();
    start_lanes();
  }

  void clear_objects() {
    const auto channel = store_->open_channel();
    const TestBuffer zero(kSize);
    for (const ObjectId object : objects_) channel->write(object, 0, zero.all());
  }

  void start_lanes() {
    lanes_.clear();
    progress_ = std::make_unique<Progress>();
    for (const plan::Lane lane : {plan::Lane::DiskRead, plan::Lane::DiskWrite})
      lanes_.push_back(
          std::make_unique<MoveLane>(lane, make_disk_mover(*store_, {arena_.data()}, objects_), *progress_));
  }

  Period post(std::int64_t number, bool apply_update = true) {
    all_spans_.push_back(std::make_unique<std::vector<plan::Span>>(plan_.actions.size()));
    const Period period{.plan = &plan_,
                        .number = number,
                        .apply_update = apply_update,
                        .start = start_,
                        .spans = all_spans_.back().get()};
    for (const auto& lane : lanes_) lane->post(period);
    return period;
  }

  // Every byte of a buffer counts its updates.
  void compute(const Period& period) {
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(plan_.actions.size()); ++i) {
      const plan::Action& action = plan_.actions[i];
      if (action.lane != plan::Lane::Compute) continue;
      if (!period.skips(action)) {
        progress_->wait_for_dependencies(action, period);
        (*period.spans)[i].start = now();
        for (std::byte& byte : std::span(arena_.data() + action.slots[0].offset, kSize))
          byte = std::byte(std::to_integer<int>(byte) + 1);
        (*period.spans)[i].end = now();
      }
      progress_->finish(plan::Lane::Compute, period, i);
    }
    progress_->finish(plan::Lane::Compute, period);
  }

  void drain(const Period& period) {
    for (const plan::Lane lane : {plan::Lane::DiskRead, plan::Lane::DiskWrite}) progress_->wait_for_lane(lane, period);
  }

  void expect_stored(int updates) {
    const auto channel = store_->open_channel();
    const std::vector<std::byte> expected(kSize, std::byte(updates));
    for (const ObjectId object : objects_) {
      const TestBuffer read(kSize);
      channel->read(object, 0, read.all());
      EXPECT_TRUE(same_bytes(read.all(), expected)) << "object " << object;
    }
  }

  [[nodiscard]] Seconds now() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

  const plan::Plan plan_ = rotating_plan();
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  Arena arena_{kNumPlaces * kSize};
  std::unique_ptr<Store> store_;
  std::vector<ObjectId> objects_;
  std::vector<std::unique_ptr<std::vector<plan::Span>>> all_spans_;
  std::unique_ptr<Progress> progress_;
  std::vector<std::unique_ptr<MoveLane>> lanes_;
};

TEST_P(LanesTest, CarryEveryBufferThroughManyPeriods) {
  Period last;
  for (int number = 0; number < 20; ++number) {
    last = post(number);
    compute(last);
  }
  drain(last);
  expect_stored(20);
}

TEST_P(LanesTest, KeepEveryDependencyWhenPeriodsArePostedAhead) {
  std::vector<Period> periods;
  for (int number = 0; number < 4; ++number) periods.push_back(post(number));
  for (const Period& period : periods) compute(period);
  drain(periods.back());
  for (std::size_t number = 0; number < periods.size(); ++number) {
    for (std::size_t i = 0; i < plan_.actions.size(); ++i) {
      for (const plan::Dependency& dependency : plan_.actions[i].dependencies) {
        if (dependency.previous_period && number == 0) continue;
        const auto& before = (*periods[number - (dependency.previous_period ? 1 : 0)].spans)[dependency.action];
        EXPECT_LE(before.end, (*periods[number].spans)[i].start) << "action " << i << " of period " << number;
      }
    }
  }
  expect_stored(4);
}

TEST_P(LanesTest, PlayTheirOwnActionsInTheOrderOfTheList) {
  const Period period = post(0);
  compute(period);
  drain(period);
  for (const plan::Lane lane : {plan::Lane::DiskRead, plan::Lane::DiskWrite}) {
    Seconds done = 0;
    for (std::size_t i = 0; i < plan_.actions.size(); ++i) {
      if (plan_.actions[i].lane != lane) continue;
      EXPECT_LE(done, (*period.spans)[i].start);
      done = (*period.spans)[i].end;
    }
  }
}

TEST_P(LanesTest, SkipWhatNeedsAnUpdateWithoutHoldingUpWhatWaitsForIt) {
  std::vector<Period> periods;
  for (int number = 0; number < 6; ++number) {
    periods.push_back(post(number, number % 3 == 1));
    compute(periods.back());
  }
  drain(periods.back());
  expect_stored(2);
  for (std::size_t i = 0; i < plan_.actions.size(); ++i) {
    if (plan_.actions[i].skip == plan::SkipWhen::NoUpdate) EXPECT_EQ((*periods[0].spans)[i].end, 0);
  }
}

TEST_P(LanesTest, StartAfreshAfterARestart) {
  for (int run = 0; run < 3; ++run) {
    const Period period = post(0);
    compute(period);
    drain(period);
    progress_->restart();
  }
  expect_stored(3);
}

TEST_P(LanesTest, RethrowAFailureAtEveryWaitAndStillJoin) {
  objects_[3] = -1;  // the lane sees it through its span
  const Period first = post(0), second = post(1);
  EXPECT_THROW(compute(first), InternalError);
  EXPECT_THROW(drain(first), InternalError);
  EXPECT_THROW(compute(second), InternalError);
  EXPECT_THROW(progress_->wait_for_lane(plan::Lane::DiskWrite, second), InternalError);
  lanes_.clear();
}

TEST_P(LanesTest, EndWhilePeriodsAreStillWaitingForTheComputeLane) {
  const Period period = post(0);
  progress_->fail(std::make_exception_ptr(IoError("test", "the compute lane gave up")));
  EXPECT_THROW(drain(period), IoError);
  lanes_.clear();
}

class FailingLanes : public LanesTest {};

TEST_P(FailingLanes, EndInAnIoErrorWhateverTransferFails) {
  for (const char* point : {"disk.read", "disk.complete_read", "disk.write", "disk.complete_write"}) {
    for (const int call : {1, 3, 8}) {
      SCOPED_TRACE(std::string(point) + "@" + std::to_string(call));
      set_fail_points(std::string(point) + "@" + std::to_string(call) + "=EIO");
      start_lanes();
      const auto play = [&] {
        for (int number = 0; number < 3; ++number) {
          const Period period = post(number);
          compute(period);
          drain(period);
        }
      };
      EXPECT_THROW(play(), IoError);
      lanes_.clear();
      set_fail_points("");
      clear_objects();
    }
  }
  start_lanes();
  const Period period = post(0);
  compute(period);
  drain(period);
  expect_stored(1);
}

std::vector<StoreCase> lane_cases(bool with_null) {
  std::vector<StoreCase> found;
  for (const StoreCase& each : store_cases()) {
    if (each.name == "disk_uring" || each.name == "disk_threads" || (with_null && each.row == "null"))
      found.push_back(each);
  }
  return found;
}

INSTANTIATE_TEST_SUITE_P(Stores, LanesTest, testing::ValuesIn(lane_cases(true)), case_name);
INSTANTIATE_TEST_SUITE_P(Stores, FailingLanes, testing::ValuesIn(lane_cases(false)), case_name);

}  // namespace
}  // namespace sluice::tier
