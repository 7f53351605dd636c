// Copies, one contract for every kind of device, and copy lanes playing a plan written by hand.
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/fail_point.h"
#include "tier/catalog.h"
#include "tier/lanes.h"
#include "tier/store_cases.h"

namespace sluice::tier {
namespace {

Seconds now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

void fill(std::span<std::byte> bytes, int seed) {
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::byte(static_cast<unsigned>(seed + i * 31 + i / 4096));
}

class DeviceContract : public testing::TestWithParam<CatalogRow<MakeDevice>> {
 protected:
  void SetUp() override {
    try {
      device_ = GetParam().make({});
    } catch (const ConfigError& error) {
      GTEST_SKIP() << error.what();  // a card that is not here
    }
  }
  void TearDown() override { set_fail_points(""); }
  std::unique_ptr<Device> device_;
};

TEST_P(DeviceContract, BringsEveryByteAndNoOther) {
  const auto line = device_->open_line();
  for (const Bytes size : {Bytes{4096}, MiB, 3 * MiB + 4096}) {
    const auto there = device_->reserve(size);
    Arena from(size), to(size + 2 * 4096);
    fill({from.data(), static_cast<std::size_t>(size)}, 1);
    line->copy(there->data(), from.data(), size);
    line->copy(to.data() + 4096, there->data(), size);
    EXPECT_TRUE(std::equal(from.data(), from.data() + size, to.data() + 4096));
    EXPECT_EQ(to.data()[4095], std::byte(0));
    EXPECT_EQ(to.data()[4096 + size], std::byte(0));
  }
}

TEST_P(DeviceContract, SaysWhenTheDeviceFails) {
  const auto line = device_->open_line();
  const auto there = device_->reserve(4096);
  Arena from(4096);
  set_fail_points("device.copy@2=EIO");
  line->copy(there->data(), from.data(), 4096);
  EXPECT_THROW(line->copy(there->data(), from.data(), 4096), IoError);
  line->copy(there->data(), from.data(), 4096);
}

INSTANTIATE_TEST_SUITE_P(Devices, DeviceContract, testing::ValuesIn(device_catalog().begin(), device_catalog().end()),
                         [](const auto& shown) { return std::string(shown.param.name); });

TEST(EmulatedDevice, IsNeverFasterThanItsLink) {
  constexpr BytesPerSecond kRate = 200e6;
  const auto device = make_emulated_device({.rate = kRate});
  const auto line = device->open_line();
  constexpr Bytes kLength = 5 * MiB / 2;
  Arena from(kLength), to(kLength);
  for (int i = 0; i < 2; ++i) {
    const Seconds start = now();
    line->copy(to.data(), from.data(), kLength);
    EXPECT_GE(now() - start, static_cast<double>(kLength) / kRate);
  }
}

constexpr Bytes kSize = 64 * KiB;
constexpr int kNumBuffers = 5, kNumPlaces = 2;  // fewer places on the device than buffers: each is used again

plan::Action move(plan::ActionKind kind, plan::BufferId buffer, std::vector<plan::Dependency> dependencies) {
  const bool fetch = kind == plan::ActionKind::Fetch;
  const plan::Slot above{.buffer = buffer, .tier = 0, .offset = buffer % kNumPlaces * kSize};
  const plan::Slot below{.buffer = buffer, .tier = 1, .offset = buffer * kSize};
  plan::Action action;
  action.kind = kind;
  action.lane = fetch ? plan::Lane::HostToDevice : plan::Lane::DeviceToHost;
  action.slots = fetch ? std::vector{below, above} : std::vector{above, below};
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
    change.dependencies = {{.action = 3 * i}};
    plan.actions.push_back(change);
    plan.actions.push_back(move(plan::ActionKind::WriteBack, i, {{.action = 3 * i + 1}}));
  }
  return plan;
}

class CopyLanes : public testing::Test {
 protected:
  CopyLanes() {
    for (const plan::Lane lane : {plan::Lane::HostToDevice, plan::Lane::DeviceToHost}) {
      lanes_.push_back(std::make_unique<MoveLane>(
          lane, make_copy_mover(emulated_->open_line(), {device_.data(), host_.data()}), progress_));
    }
  }
  void TearDown() override { set_fail_points(""); }

  Period post(std::int64_t number) {
    all_spans_.push_back(std::make_unique<std::vector<plan::Span>>(plan_.actions.size()));
    const Period period{
        .plan = &plan_, .number = number, .start = std::chrono::steady_clock::now(), .spans = all_spans_.back().get()};
    for (const auto& lane : lanes_) lane->post(period);
    return period;
  }

  // Every byte of a buffer counts its changes.
  void compute(const Period& period) {
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(plan_.actions.size()); ++i) {
      const plan::Action& action = plan_.actions[i];
      if (action.lane != plan::Lane::Compute) continue;
      progress_.wait_for_dependencies(action, period);
      for (std::byte& byte : std::span(device_.data() + action.slots[0].offset, kSize))
        byte = std::byte(std::to_integer<int>(byte) + 1);
      progress_.finish(plan::Lane::Compute, period, i);
    }
    progress_.finish(plan::Lane::Compute, period);
  }

  void drain(const Period& period) {
    for (const auto& lane : lanes_) progress_.wait_for_lane(lane->lane(), period);
  }

  const plan::Plan plan_ = rotating_plan();
  const std::unique_ptr<Device> emulated_ = make_emulated_device({.rate = 2e9});
  Arena device_{kNumPlaces * kSize}, host_{kNumBuffers * kSize};
  std::vector<std::unique_ptr<std::vector<plan::Span>>> all_spans_;
  Progress progress_;
  std::vector<std::unique_ptr<MoveLane>> lanes_;
};

TEST_F(CopyLanes, CarryEveryBufferThroughManyPeriodsPostedAhead) {
  std::vector<Period> periods;
  for (int number = 0; number < 12; ++number) {
    periods.push_back(post(number));
    if (number > 0) compute(periods[number - 1]);
  }
  compute(periods.back());
  drain(periods.back());
  for (std::byte byte : std::span(host_.data(), kNumBuffers * kSize)) ASSERT_EQ(byte, std::byte(12));
  for (const Period& period : periods) {
    for (std::size_t i = 0; i < plan_.actions.size(); i += 3)
      EXPECT_LE((*period.spans)[i].end, (*period.spans)[i + 2].start) << "write-back before its fetch";
  }
}

TEST_F(CopyLanes, RethrowAFailureAtEveryWait) {
  set_fail_points("device.copy@7=EIO");
  const Period period = post(0);
  EXPECT_THROW(
      {
        compute(period);
        drain(period);
      },
      IoError);
  EXPECT_THROW(drain(period), IoError);
}

TEST(CopyMover, RefusesSlotsThatNameNoPlace) {
  Arena memory(4096);
  const auto device = make_emulated_device({});
  const auto mover = make_copy_mover(device->open_line(), {memory.data()});
  plan::Action action = move(plan::ActionKind::Fetch, 0, {});
  EXPECT_THROW(mover->move(action, {.bytes = 4096}), InternalError);
  action.slots[0] = {.buffer = 0, .tier = 0, .offset = -1};
  EXPECT_THROW(mover->move(action, {.bytes = 4096}), InternalError);
}

}  // namespace
}  // namespace sluice::tier
