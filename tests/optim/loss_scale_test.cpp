// Sequences of scales written down from the two sources: which steps overflow, and with what scale each step runs.
#include "optim/loss_scale.h"

#include <gtest/gtest.h>

#include <string_view>
#include <vector>

namespace sluice::optim {
namespace {

/// The scale of each step; 'x' overflows, '.' does not. A scale that cannot fall any more ends the sequence with -1.
std::vector<double> scales(LossScale& scale, std::string_view steps) {
  std::vector<double> result;
  for (const char step : steps) {
    result.push_back(scale.scale());
    if (!scale.update(step == 'x')) {
      result.push_back(-1);
      break;
    }
  }
  return result;
}

std::vector<double> scales(const LossScaleOptions& options, std::string_view steps) {
  LossScale scale(options);
  return scales(scale, steps);
}

TEST(LossScale, IsDeepSpeedsByDefault) {
  const LossScaleOptions options;
  EXPECT_EQ(options.policy, ScalePolicy::DeepSpeed);
  EXPECT_EQ(options.initial, 65536);
  EXPECT_EQ(options.window, 1000);
  EXPECT_EQ(options.hysteresis, 2);
  EXPECT_EQ(options.minimum, 1);
}

// The window counts steps after the one that follows an overflow, and begins with one before the first step.
TEST(DeepSpeedLossScale, DoublesAfterEveryWindowOfCleanSteps) {
  EXPECT_EQ(scales({.initial = 256, .window = 2, .hysteresis = 1}, "........"),
            (std::vector<double>{256, 256, 256, 512, 512, 1024, 1024, 2048}));
  EXPECT_EQ(scales({.initial = 8, .window = 1, .hysteresis = 1}, "....."), (std::vector<double>{8, 8, 16, 32, 64}));
  LossScale scale({});
  EXPECT_EQ(scales(scale, std::string(1001, '.')).back(), 65536);
  EXPECT_EQ(scale.scale(), 131072);
}

TEST(DeepSpeedLossScale, HalvesAtEveryOverflowWithoutHysteresisAndEndsAtItsMinimum) {
  EXPECT_EQ(scales({.initial = 16, .window = 2, .hysteresis = 1, .minimum = 2}, "xxxxx"),
            (std::vector<double>{16, 8, 4, 2, -1}));
  EXPECT_EQ(scales({.initial = 12, .hysteresis = 1, .minimum = 5}, "xxxx"), (std::vector<double>{12, 6, 5, -1}));
}

TEST(DeepSpeedLossScale, ToleratesOverflowsUntilItsHysteresisIsUsedUp) {
  // The counter falls to 1 and stays there until the scale grows.
  EXPECT_EQ(scales({.initial = 64, .window = 100, .hysteresis = 3}, "xx..xx.x"),
            (std::vector<double>{64, 64, 64, 64, 64, 32, 16, 16}));
  // Overflow at step 1: the scale grows after step 1 + 1 + window, and that refills the counter.
  EXPECT_EQ(scales({.initial = 64, .window = 3, .hysteresis = 2}, ".x......x."),
            (std::vector<double>{64, 64, 64, 64, 64, 64, 128, 128, 128, 128}));
}

// After the overflow at step 1 the counter is 1. Growing at step 5 refills it, so that the one at step 6 costs nothing.
TEST(DeepSpeedLossScale, RefillsItsHysteresisWhenItGrows) {
  EXPECT_EQ(scales({.initial = 64, .window = 3, .hysteresis = 2},
                   ".x...."
                   "xx."),
            (std::vector<double>{64, 64, 64, 64, 64, 64, 128, 128, 64}));
}

TEST(DeepSpeedLossScale, ForgivesAfterEveryCleanStepWhenToldSo) {
  EXPECT_EQ(scales({.initial = 64, .window = 100, .hysteresis = 2, .consecutive_hysteresis = true}, "x.x.xx."),
            (std::vector<double>{64, 64, 64, 64, 64, 64, 32}));
  EXPECT_EQ(scales({.initial = 64, .window = 100, .hysteresis = 2}, "x.x.xx."),
            (std::vector<double>{64, 64, 64, 32, 32, 16, 8}));
}

TEST(TorchLossScale, GrowsAfterItsIntervalAndBacksOffAtOnce) {
  const LossScaleOptions options{.policy = ScalePolicy::Torch, .initial = 64, .window = 3};
  EXPECT_EQ(scales(options, "......x...x.."),
            (std::vector<double>{64, 64, 64, 128, 128, 128, 256, 128, 128, 128, 256, 128, 128}));
  EXPECT_EQ(scales(options, "..x..x...."), (std::vector<double>{64, 64, 64, 32, 32, 32, 16, 16, 16, 32}));
}

TEST(TorchLossScale, HasNoFloorAndStopsGrowingBelowInfinity) {
  EXPECT_EQ(scales({.policy = ScalePolicy::Torch, .initial = 1}, "xxx").back(), 0.25);
  LossScale high({.policy = ScalePolicy::Torch, .initial = 0x1p127, .window = 1});
  EXPECT_TRUE(high.update(false));
  EXPECT_EQ(high.scale(), 0x1p127);
  EXPECT_EQ(scales({.policy = ScalePolicy::Torch, .initial = 1, .growth = 1.1, .window = 1}, "..").back(), 1.1F);
}

TEST(FixedLossScale, NeverChanges) {
  EXPECT_EQ(scales({.policy = ScalePolicy::Fixed, .initial = 128}, "x.x."), (std::vector<double>{128, 128, 128, 128}));
  EXPECT_FALSE(LossScale({.policy = ScalePolicy::Fixed}).is_dynamic());
}

TEST(LossScale, GoesOnFromItsStateAsIfNothingHadHappened) {
  const std::string_view steps = ".x..x.xx...x....";
  for (const ScalePolicy policy : {ScalePolicy::DeepSpeed, ScalePolicy::Torch}) {
    const LossScaleOptions options{.policy = policy, .initial = 1024, .window = 2, .hysteresis = 2};
    for (std::size_t cut = 0; cut < steps.size(); ++cut) {
      LossScale whole(options), first(options);
      (void)scales(whole, steps);
      (void)scales(first, steps.substr(0, cut));
      LossScale second(options, first.state());
      (void)scales(second, steps.substr(cut));
      EXPECT_EQ(second.state(), whole.state()) << cut;
    }
  }
}

}  // namespace
}  // namespace sluice::optim
