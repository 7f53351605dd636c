#include "tier/device_workspace.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"

namespace sluice::tier {
namespace {

// Addresses are handed out and never looked at: any number will do.
std::byte* place(std::uintptr_t address) { return reinterpret_cast<std::byte*>(address); }

class DeviceWorkspaceTest : public testing::Test {
 protected:
  std::byte* const pool_ = place(0x100000);
  std::byte* const base_ = place(0x900000);
  DeviceWorkspace workspace_{pool_, 64 * KiB};
};

TEST_F(DeviceWorkspaceTest, TakesFromThePoolUntilAWorkspaceIsGiven) {
  std::byte* kept = workspace_.allocate(100);
  EXPECT_EQ(kept, pool_);
  EXPECT_EQ(workspace_.allocate(1), pool_ + DeviceWorkspace::kAlignment);
  workspace_.use(base_, 64 * KiB);
  EXPECT_EQ(workspace_.allocate(100), base_);
  workspace_.release(kept);
  EXPECT_EQ(workspace_.peak(), DeviceWorkspace::kAlignment);
  EXPECT_EQ(workspace_.pool_peak(), 2 * DeviceWorkspace::kAlignment);
}

TEST_F(DeviceWorkspaceTest, PutsWhatThePlanHasNotForeseenIntoThePool) {
  workspace_.use(base_, 64 * KiB);
  workspace_.limit(4 * KiB);
  std::byte* inside = workspace_.allocate(4 * KiB);
  EXPECT_EQ(inside, base_);
  EXPECT_EQ(workspace_.allocate(1 * KiB), pool_);
  workspace_.release(inside);
  EXPECT_EQ(workspace_.allocate(2 * KiB), base_);
  workspace_.limit(0);
  EXPECT_EQ(workspace_.allocate(KiB), pool_ + KiB);
  EXPECT_EQ(workspace_.peak(), 4 * KiB);
}

TEST_F(DeviceWorkspaceTest, RefusesWhatFitsNowhereAndStaysAsItWas) {
  workspace_.use(base_, 4 * KiB);
  try {
    workspace_.allocate(65 * KiB);
    FAIL() << "more than all there is";
  } catch (const CapacityError& error) {
    EXPECT_NE(std::string(error.what()).find("asked 65.0 KiB"), std::string::npos) << error.what();
  }
  EXPECT_EQ(workspace_.allocate(4 * KiB), base_);
  EXPECT_EQ(workspace_.allocate(64 * KiB), pool_);
}

TEST_F(DeviceWorkspaceTest, GivesTheSameAddressesToTheSameAllocations) {
  workspace_.use(base_, 64 * KiB);
  std::vector<std::byte*> first;
  for (int round = 0; round < 2; ++round) {
    std::vector<std::byte*> all;
    for (const Bytes bytes : {300, 70, 5000, 64}) all.push_back(workspace_.allocate(bytes));
    if (round == 0) first = all;
    EXPECT_EQ(all, first);
    for (std::byte* memory : all) workspace_.release(memory);
  }
}

TEST_F(DeviceWorkspaceTest, KnowsWhatIsItsOwn) {
  EXPECT_EQ(workspace_.allocate(0), nullptr);
  workspace_.release(nullptr);
  EXPECT_THROW(workspace_.release(place(0x10)), InternalError);
  workspace_.use(base_, KiB);
  std::byte* memory = workspace_.allocate(KiB);
  EXPECT_THROW(workspace_.use(nullptr, 0), InternalError);
  workspace_.release(memory);
  workspace_.use(nullptr, 0);
}

TEST_F(DeviceWorkspaceTest, ForgetsAWorkspaceWhoseMemoryGoes) {
  workspace_.use(base_, KiB);
  std::byte* memory = workspace_.allocate(KiB);
  workspace_.forget();
  EXPECT_THROW(workspace_.release(memory), InternalError);
  EXPECT_EQ(workspace_.allocate(KiB), pool_);
  workspace_.use(base_, KiB);
  EXPECT_EQ(workspace_.allocate(KiB), base_);
}

}  // namespace
}  // namespace sluice::tier
