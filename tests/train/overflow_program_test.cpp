// Clipping, loss scales and gradients that are not finite, as a user meets them.
#include <filesystem>
#include <fstream>

#include "train/training_program.h"

namespace sluice::train {
namespace {

constexpr int kNumerics = 6;

class Overflow : public TrainingProgram {
 protected:
  /// Per step: the scale with which it ran.
  [[nodiscard]] std::vector<double> scales(const std::string& output) const {
    std::vector<double> found;
    for (const Json& line : events(output, "step")) found.push_back(line.at("loss_scale"));
    return found;
  }
  [[nodiscard]] std::vector<int> skipped(const std::string& output) const {
    std::vector<int> found;
    for (const Json& line : events(output, "step")) {
      if (line.at("skipped")) found.push_back(line.at("step"));
    }
    return found;
  }
  /// Backward actions of a step in one pass: blocks times micro-batches.
  static constexpr int kBackwards = 6 * 2;
  static std::string overflow_in_step(int step, int passes = 1) {
    return "SLUICE_FAIL=exec.gradient@" + std::to_string((step - 1) * kBackwards * passes + 3) + "=EIO";
  }
};

TEST_F(Overflow, LomoClipsInTwoPassesWithTheBitsOfOne) {
  const std::string lomo = "--optimizer lomo --max-grad-norm 0.5 ";
  const std::string expected = weights_after("two", lomo);
  EXPECT_TRUE(weights_after("one", lomo + "--update next-forward") == expected);
  EXPECT_TRUE(weights_after("sweep", lomo + "--update sweep") == expected);
  EXPECT_EQ(steps("one"), steps("two"));
  EXPECT_EQ(steps("sweep"), steps("two"));
  EXPECT_GT(events("two", "step").at(0).at("grad_norm"), 0.5) << "nothing is clipped";
}

TEST_F(Overflow, LomoWithoutClippingIsPlainDescentBitForBit) {
  const std::string plain = "--max-grad-norm 0 --weight-decay 0 --optimizer ";
  const std::string expected = weights_after("sgd", plain + "sgd --update next-forward");
  EXPECT_TRUE(weights_after("lomo", plain + "lomo") == expected);
  EXPECT_TRUE(weights_after("sweep", plain + "sgd --update sweep") == expected);
  EXPECT_EQ(steps("lomo"), steps("sgd"));
}

TEST_F(Overflow, ALossScaleOfAPowerOfTwoChangesNoBit) {
  const std::string expected = weights_after("plain");
  EXPECT_TRUE(weights_after("scaled", "--loss-scale 4096") == expected);
  EXPECT_EQ(steps("scaled"), steps("plain"));
  EXPECT_EQ(scales("scaled"), std::vector<double>(6, 4096));
}

TEST_F(Overflow, IsSkippedExactlyOnceAndLeavesTheScheduleAlone) {
  for (const auto& [mode, passes] : {std::pair{"next-forward", 1}, {"two-pass", 2}, {"sweep", 1}}) {
    const std::string output = mode;
    const std::string flags = output == "two-pass" ? "--clip-mode two-pass " : "--update " + output + " ";
    const auto result =
        train(output, flags + "--loss-scale dynamic --loss-scale-option initial_scale_power=10,hysteresis=1",
              overflow_in_step(3, passes));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(skipped(output), std::vector<int>{3});
    EXPECT_EQ(scales(output), (std::vector<double>{1024, 1024, 1024, 512, 512, 512}));
    const auto lines = events(output, "step");
    EXPECT_EQ(lines[3].at("lr"), lines[2].at("lr")) << "the skipped step has used up its rate";
    EXPECT_NE(result.err.find("step 3 skipped: its gradient of "), std::string::npos) << result.err;
    EXPECT_NE(result.err.find("loss scale of 1024"), std::string::npos) << result.err;
    EXPECT_EQ(weights_of(output), weights_of("next-forward")) << output;
  }
}

// What overflows is the fp32 gradient itself, until the scale is small enough: large weights make large gradients.
TEST_F(Overflow, OfAHugeScaleIsSkippedUntilTheScaleFits) {
  Json config = tiny_config();
  config["initializer_range"] = 3.0;
  std::ofstream(path("model/config.json")) << config.dump();
  const std::string scale = "--loss-scale dynamic --loss-scale-option initial_scale_power=127,hysteresis=1 ";
  ASSERT_EQ(train("huge", scale + "--max-steps 24").exit_code, 0);
  const std::vector<int> first = skipped("huge");
  ASSERT_FALSE(first.empty());
  ASSERT_LT(first.size(), 20U);
  for (int i = 0; i < static_cast<int>(first.size()); ++i) EXPECT_EQ(first[i], i + 1) << "a skip after a good step";
  const auto lines = events("huge", "step");
  EXPECT_EQ(lines[0].at("lr"), lines[first.size()].at("lr"));
  EXPECT_LT(lines.back().at("loss"), lines[0].at("loss"));
}

TEST_F(Overflow, ResumesWithItsScaleToTheSameBits) {
  for (const std::string policy : {"hysteresis=2,loss_scale_window=2", "policy=torch,growth_interval=2"}) {
    const std::string flags = "--save-steps 3 --keep 9 --loss-scale dynamic --loss-scale-option " + policy;
    const std::string whole = "whole-" + policy.substr(0, 3), cut = "cut-" + policy.substr(0, 3);
    ASSERT_EQ(train(whole, flags, overflow_in_step(2)).exit_code, 0);
    ASSERT_EQ(train(cut, flags + " --resume " + path(whole + "/checkpoint-3")).exit_code, 0);
    const std::vector<double> all = scales(whole);
    EXPECT_EQ(scales(cut), std::vector<double>(all.begin() + 3, all.end()));
    EXPECT_NE(all[3], all[5]) << "nothing is left to remember";
    EXPECT_TRUE(weights_of(cut) == weights_of(whole)) << policy;
  }
}

TEST_F(Overflow, EndsTheRunWhenToldToStop) {
  const auto result = train("out", "--nan-policy stop", overflow_in_step(2));
  expect_failure(result, kNumerics, "of step 2 is not finite");
  EXPECT_NE(result.err.find("gradient of "), std::string::npos) << result.err;
}

TEST_F(Overflow, EndsTheRunAfterSoManyInARow) {
  expect_failure(train("out", "--max-skipped-steps 3", "SLUICE_FAIL=exec.gradient=EIO"), kNumerics, "the last of 3");
  EXPECT_EQ(events("out", "step").size(), 2U);
  expect_failure(
      train("floor", "--loss-scale dynamic --loss-scale-option initial_scale_power=2,hysteresis=1,min_loss_scale=2",
            "SLUICE_FAIL=exec.gradient=EIO"),
      kNumerics, "smallest loss scale");
}

TEST_F(Overflow, EndsTheRunWhenBlocksAreAlreadyUpdated) {
  expect_failure(train("out", "--max-grad-norm 0 --optimizer lomo", overflow_in_step(2)), kNumerics,
                 "blocks above are already updated");
}

TEST_F(Overflow, ClippingByBlockAndValueTrains) {
  for (const std::string mode : {"block", "value"}) {
    for (const std::string rule : {"lomo", "adamw"}) {
      const std::string output = mode + rule;
      ASSERT_EQ(train(output, "--clip-mode " + mode + " --max-grad-norm 0.01 --optimizer " + rule).exit_code, 0);
      EXPECT_TRUE(weights_of(output) ==
                  weights_after(output + "-small", "--clip-mode " + mode + " --max-grad-norm 0.01 --optimizer " + rule +
                                                       " " + spill() + budget(smallest_budget() + kSpread)));
    }
  }
}

TEST_F(Overflow, LomosMemoryIsInTheReport) {
  ASSERT_EQ(train("lomo", "--optimizer lomo").exit_code, 0);
  ASSERT_EQ(train("sgd", "--optimizer sgd").exit_code, 0);
  const Json lomo = events("lomo", "end").at(0), sgd = events("sgd", "end").at(0);
  EXPECT_EQ(lomo.at("state_bytes").at("weight"), sgd.at("state_bytes").at("weight"));
  EXPECT_EQ(lomo.at("state_bytes").at("moment"), 0);
  EXPECT_LT(lomo.at("state_bytes").at("gradient"), sgd.at("state_bytes").at("gradient"));
  EXPECT_EQ(sgd.at("state_bytes").at("gradient"), sgd.at("state_bytes").at("weight"));
  EXPECT_TRUE(lomo.at("at_peak_bytes").contains("workspace"));
  EXPECT_NE(cli::read_whole(scratch_.file("lomo") / "report.html").find("fullest: "), std::string::npos);
}

}  // namespace
}  // namespace sluice::train
