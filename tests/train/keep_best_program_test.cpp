// --keep-best: the step with the lowest held-out loss is kept and becomes the model, whatever interrupts the run.
#include <filesystem>

#include "train/training_program.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

class KeepBest : public TrainingProgram {
 protected:
  // Random rows learnt by heart: the loss on other random rows falls at first and then rises.
  [[nodiscard]] std::string options() const {
    return "--lr 2e-3 --max-steps 8 --lr-schedule constant --keep 1 --keep-best --eval-steps 1 --eval-data " +
           path("held-out.safetensors") + " ";
  }
  // Held-out loss by step, without the one before the first step; the last said counts.
  [[nodiscard]] std::map<int, double> held_out(const std::string& output) const {
    std::map<int, double> losses;
    for (const Json& line : events(output, "eval")) {
      if (line.at("step") > 0) losses[line.at("step")] = line.at("loss");
    }
    return losses;
  }
  [[nodiscard]] int best_step(const std::string& output) const {
    const auto losses = held_out(output);
    return std::min_element(losses.begin(), losses.end(),
                            [](const auto& a, const auto& b) { return a.second < b.second; })
        ->first;
  }
  [[nodiscard]] std::vector<std::string> checkpoints(const std::string& output) const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(path(output))) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("checkpoint-")) names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
  }
};

TEST_F(KeepBest, KeepsTheCheckpointOfTheLowestHeldOutLossAndGivesItsWeights) {
  const auto result = train("out", options() + "--save-steps 1");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const int best = best_step("out");
  ASSERT_LT(best, 8) << "the run should end worse than it was";
  for (const Json& line : events("out", "eval")) {
    if (line.at("step") >= best) EXPECT_EQ(line.at("best"), line.at("step") == best) << line;
  }
  const std::string folder = "checkpoint-" + std::to_string(best);
  EXPECT_EQ(checkpoints("out"), (std::vector<std::string>{folder, "checkpoint-8"}));
  EXPECT_TRUE(weights_of("out") == weights_of("out/" + folder));
  EXPECT_FALSE(weights_of("out") == weights_of("out/checkpoint-8"));
}

TEST_F(KeepBest, ForgetsNothingOverInterruptionsAndSavesTheBestWithoutSaveSteps) {
  const std::string expected = weights_after("whole", options());
  const std::string folder = "checkpoint-" + std::to_string(best_step("whole"));
  EXPECT_EQ(checkpoints("whole"), std::vector<std::string>{folder});
  for (int step = 1; step < 8; ++step) ASSERT_EQ(train("stopped", options() + "--max-time 0.000001").exit_code, 0);
  EXPECT_TRUE(weights_after("stopped", options()) == expected);
  EXPECT_EQ(held_out("stopped"), held_out("whole"));
}

TEST_F(KeepBest, FallsBackToTheLastWeightsWhenTheBestAreDamaged) {
  ASSERT_EQ(train("out", options() + "--save-steps 1").exit_code, 0);
  const fs::path best = path("out/checkpoint-" + std::to_string(best_step("out")));
  fs::resize_file(best / "model.safetensors", 1000);
  const auto damaged = train("out", options());
  EXPECT_EQ(damaged.exit_code, 0);
  EXPECT_NE(damaged.err.find("the best weights cannot be read"), std::string::npos) << damaged.err;
  EXPECT_TRUE(weights_of("out") == weights_of("out/checkpoint-8"));
  fs::remove_all(best);
  const auto lost = train("out", options());
  EXPECT_EQ(lost.exit_code, 0);
  EXPECT_NE(lost.err.find("is gone"), std::string::npos) << lost.err;
}

TEST_F(KeepBest, IsRefusedAtOnceWithoutHeldOutData) { expect_failure(train("out", "--keep-best"), 2, "--eval-data"); }

}  // namespace
}  // namespace sluice::train
