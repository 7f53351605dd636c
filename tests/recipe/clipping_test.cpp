// Which clipping, loss scale and time of updates follow from the settings, and which contradict each other.
#include "recipe/clipping.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "recipe/support.h"

namespace sluice::recipe {
namespace {

using Flags = std::vector<NamedValue>;
using plan::UpdateWhen;

UpdateWhen when(const Flags& flags) { return update_when(read_settings(flags)); }
optim::ClipKind kind(const Flags& flags) { return clipping(read_settings(flags)).kind; }

std::string refusal(const Flags& flags) {
  try {
    check_supported(read_settings(flags));
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(UpdateWhen, FollowsWhatMustBeKnownOfAllGradients) {
  EXPECT_EQ(when({}), UpdateWhen::NextForward);
  EXPECT_EQ(when({{"max-grad-norm", "0"}}), UpdateWhen::Backward);
  EXPECT_EQ(when({{"clip-mode", "two-pass"}}), UpdateWhen::SecondPass);
  EXPECT_EQ(when({{"clip-mode", "two-pass"}, {"update", "backward"}}), UpdateWhen::SecondPass);
  EXPECT_EQ(when({{"clip-mode", "value"}}), UpdateWhen::Backward);
  EXPECT_EQ(when({{"clip-mode", "block"}}), UpdateWhen::Backward);
  EXPECT_EQ(when({{"update", "sweep"}}), UpdateWhen::Sweep);
  EXPECT_EQ(when({{"update", "sweep"}, {"clip-mode", "block"}}), UpdateWhen::Sweep);
  EXPECT_EQ(when({{"clip-mode", "value"}, {"update", "next-forward"}}), UpdateWhen::NextForward);
}

TEST(UpdateWhen, WaitsForOverflowsOfAScaledLoss) {
  const NamedValue scaled{"loss-scale", "dynamic"};
  EXPECT_EQ(when({scaled, {"max-grad-norm", "0"}}), UpdateWhen::NextForward);
  EXPECT_EQ(when({scaled, {"clip-mode", "value"}}), UpdateWhen::NextForward);
  EXPECT_EQ(when({scaled, {"clip-mode", "block"}}), UpdateWhen::Sweep);
  EXPECT_EQ(when({scaled, {"optimizer", "lomo"}, {"max-grad-norm", "0"}}), UpdateWhen::SecondPass);
}

TEST(ClipMode, OfLomoIsTwoPassUnlessUpdatesRunElsewhere) {
  EXPECT_EQ(when({{"optimizer", "lomo"}}), UpdateWhen::SecondPass);
  EXPECT_EQ(when({{"optimizer", "lomo"}, {"max-grad-norm", "0"}}), UpdateWhen::Backward);
  EXPECT_EQ(when({{"optimizer", "lomo"}, {"clip-mode", "global"}}), UpdateWhen::NextForward);
  EXPECT_EQ(when({{"optimizer", "lomo"}, {"update", "next-forward"}}), UpdateWhen::NextForward);
  EXPECT_EQ(when({{"optimizer", "lomo"}, {"update", "sweep"}}), UpdateWhen::Sweep);
}

TEST(Clipping, HasItsBoundFromMaxGradNorm) {
  EXPECT_EQ(clipping(read_settings({})).bound, 1.0);
  EXPECT_EQ(kind({}), optim::ClipKind::Total);
  EXPECT_EQ(kind({{"optimizer", "lomo"}}), optim::ClipKind::Total);
  EXPECT_EQ(kind({{"clip-mode", "value"}}), optim::ClipKind::Value);
  EXPECT_EQ(kind({{"clip-mode", "block"}}), optim::ClipKind::Block);
  EXPECT_EQ(kind({{"clip-mode", "value"}, {"max-grad-norm", "0"}}), optim::ClipKind::None);
}

TEST(Clipping, RefusesWhatCannotBeTogether) {
  for (const Flags& flags : {Flags{{"update", "backward"}}, Flags{{"update", "backward"}, {"clip-mode", "global"}},
                             Flags{{"update", "backward"}, {"max-grad-norm", "0"}, {"loss-scale", "8"}},
                             Flags{{"update", "backward"}, {"clip-mode", "value"}, {"loss-scale", "dynamic"}},
                             Flags{{"update", "next-forward"}, {"clip-mode", "two-pass"}},
                             Flags{{"update", "sweep"}, {"clip-mode", "two-pass"}},
                             Flags{{"update", "next-forward"}, {"clip-mode", "block"}}}) {
    const std::string message = refusal(flags);
    EXPECT_NE(message.find("contradicts"), std::string::npos) << flags.back().name << ": " << message;
    EXPECT_NE(message.find("; "), std::string::npos) << message << " names no way out";
  }
  EXPECT_EQ(refusal({{"update", "backward"}, {"clip-mode", "two-pass"}}), "");
  EXPECT_EQ(refusal({{"update", "backward"}, {"clip-mode", "block"}}), "");
}

TEST(LossScaleOptions, AreDeepSpeedsOrTorchsByTheirOwnNames) {
  EXPECT_EQ(loss_scale_options(read_settings({})).policy, optim::ScalePolicy::Fixed);
  EXPECT_EQ(loss_scale_options(read_settings({})).initial, 1);
  EXPECT_EQ(loss_scale_options(read_settings(Flags{{"loss-scale", "128"}})).initial, 128);
  const NamedValue dynamic{"loss-scale", "dynamic"};
  const auto deepspeed =
      loss_scale_options(read_settings(Flags{dynamic,
                                             {"loss-scale-option", "initial_scale_power=8,hysteresis=3"},
                                             {"loss-scale-option", "loss_scale_window=7"},
                                             {"loss-scale-option", "consecutive_hysteresis=true,min_loss_scale=0.5"}}));
  EXPECT_EQ(deepspeed.initial, 256);
  EXPECT_EQ(deepspeed.hysteresis, 3);
  EXPECT_EQ(deepspeed.window, 7);
  EXPECT_TRUE(deepspeed.consecutive_hysteresis);
  EXPECT_EQ(deepspeed.minimum, 0.5);
  const auto torch = loss_scale_options(read_settings(Flags{dynamic, {"loss-scale-option", "policy=torch"}}));
  EXPECT_EQ(torch.policy, optim::ScalePolicy::Torch);
  EXPECT_EQ(torch.initial, 65536);
  EXPECT_EQ(torch.window, 2000);
  const auto slower = loss_scale_options(
      read_settings(Flags{dynamic, {"loss-scale-option", "policy=torch,growth_factor=1.5,backoff_factor=0.25"}}));
  EXPECT_EQ(slower.growth, 1.5);
  EXPECT_EQ(slower.backoff, 0.25);
}

TEST(LossScaleOptions, OfTheOtherPolicyOrWithoutOneAreRefused) {
  const NamedValue dynamic{"loss-scale", "dynamic"};
  EXPECT_NE(refusal({dynamic, {"loss-scale-option", "growth_factor=3"}}).find("loss_scale_window"), std::string::npos);
  EXPECT_NE(refusal({dynamic, {"loss-scale-option", "policy=torch,hysteresis=3"}}).find("growth_interval"),
            std::string::npos);
  EXPECT_NE(refusal({dynamic, {"loss-scale-option", "policy=apex"}}).find("deepspeed or torch"), std::string::npos);
  EXPECT_NE(refusal({{"loss-scale-option", "hysteresis=3"}}).find("--loss-scale dynamic"), std::string::npos);
  EXPECT_NE(refusal({dynamic, {"loss-scale-option", "hysteresis=0"}}).find("hysteresis"), std::string::npos);
}

}  // namespace
}  // namespace sluice::recipe
