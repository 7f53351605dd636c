// Runs that are killed, stopped or told to stop, and the same command again: the bits of the run that nobody disturbed.
#include <algorithm>
#include <filesystem>

#include "train/training_program.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

constexpr int kKilled = 128 + 9, kPreempted = 75;

TEST_F(TrainingProgram, ResumesToTheSameBitsWhereverASaveWasKilled) {
  const std::string expected = weights_after("whole", "--save-steps 2");
  // Before the first checkpoint; in the second one, of which a resumed run makes three; in the final model.
  const std::vector<std::string> kills = {"checkpoint.write@11=KILL", "checkpoint.rename@2=KILL",
                                          "checkpoint.manifest@1=KILL", "file.rename@14=KILL", "file.sync@3=KILL"};
  for (const std::string& kill : kills) {
    const auto result = train("killed", "--save-steps 2", "SLUICE_FAIL=" + kill);
    EXPECT_TRUE(result.exit_code == kKilled || result.exit_code == 0) << kill << ": " << result.err;
    EXPECT_EQ(fs::exists(path("killed/config.json")), result.exit_code == 0) << kill << " left half a model";
  }
  EXPECT_TRUE(fs::exists(path("killed/checkpoint-2"))) << "nothing was ever saved";
  ASSERT_EQ(train("killed", "--save-steps 2").exit_code, 0);
  EXPECT_TRUE(weights_of("killed") == expected);
  EXPECT_EQ(steps("killed"), steps("whole"));
  for (const auto& entry : fs::directory_iterator(path("killed")))
    EXPECT_EQ(entry.path().filename().string().find(".tmp-"), std::string::npos) << entry.path();
}

TEST_F(TrainingProgram, ResumesToTheSameBitsAfterATimeLimitAndAtAnotherBudget) {
  const std::string held_out = "--eval-data " + path("held-out.safetensors") + " ";
  const std::string expected = weights_after("whole", held_out);
  for (int step = 1; step <= 5; ++step) {
    const auto result = train("stopped", held_out + "--max-time 0.000001 --spill-dir " + path("spill") +
                                             (step % 2 == 0 ? " --activations recompute" : ""));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(fs::exists(path("stopped/checkpoint-" + std::to_string(step))));
    EXPECT_TRUE(fs::exists(path("stopped/model.safetensors")));
    const std::vector<Json> stops = events("stopped", "stop");
    ASSERT_EQ(stops.size(), step);
    EXPECT_EQ(stops.back().at("reason"), "max-time");
    EXPECT_EQ(stops.back().at("step"), step);
  }
  EXPECT_TRUE(weights_after("stopped", held_out) == expected);
  EXPECT_EQ(steps("stopped"), steps("whole"));
  EXPECT_EQ(events("stopped", "eval").back().at("loss"), events("whole", "eval").back().at("loss"));
  const auto folders =
      std::count_if(fs::directory_iterator(path("stopped")), fs::directory_iterator(),
                    [](auto& entry) { return entry.path().filename().string().starts_with("checkpoint-"); });
  EXPECT_LE(folders, 2) << "--keep is 2";
}

TEST_F(TrainingProgram, SavesAndExitsWith75WhenTerminatedAndThenFinishes) {
  const std::string longer = "--max-steps 120";
  const std::string expected = weights_after("whole", longer);
  const std::string metrics_file = path("stopped/metrics.jsonl");
  const std::string script =
      scratch_.write("terminate.sh", std::string(SLUICE_PROGRAM) + " " + train_arguments("stopped", longer) +
                                         " 2>/dev/null & pid=$!\n"
                                         "for i in $(seq 3000); do grep -qs '\"step\":3,' " +
                                         metrics_file +
                                         " && break; sleep 0.01; done\n"
                                         "kill -TERM $pid; wait $pid\n");
  const int status = std::system(("sh " + script).c_str());
  EXPECT_EQ(WEXITSTATUS(status), kPreempted);
  EXPECT_LT(events("stopped", "step").size(), 120U);
  EXPECT_TRUE(weights_after("stopped", longer) == expected);
  EXPECT_EQ(steps("stopped"), steps("whole"));
}

TEST_F(TrainingProgram, EndsAtTheSecondInterruptThoughTheDiskHangs) {
  const std::string arguments =
      train_arguments("hung", spill() + budget(smallest_budget() + kSpread) + "--save-steps 1");
  const std::string script = scratch_.write(
      "interrupt.sh", "SLUICE_FAIL=disk.complete_read@30=HANG " SLUICE_PROGRAM " " + arguments +
                          " 2>/dev/null & pid=$!\n"
                          "for i in $(seq 3000); do grep -qs '\"event\":\"start\"' " +
                          path("hung/metrics.jsonl") +
                          " && break; sleep 0.01; done\n"
                          "sleep 0.5; kill -INT $pid; sleep 0.2; kill -0 $pid || exit 1; kill -INT $pid; wait $pid\n");
  const int status = std::system(("sh " + script).c_str());
  EXPECT_EQ(WEXITSTATUS(status), 130);
}

TEST_F(TrainingProgram, DoesNotResumeFromADamagedCheckpoint) {
  ASSERT_EQ(train("out", "--save-steps 2 --keep 3").exit_code, 0);
  const fs::path newest = path("out/checkpoint-6"), older = path("out/checkpoint-4");
  const auto damage = [](const fs::path& folder) {
    std::fstream file(folder / "model.safetensors", std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(100000);
    file.put('\x5a');
  };
  damage(newest);
  const auto named = train("out", "--resume " + newest.string());
  expect_failure(named, 4, "model.safetensors");
  const auto found = train("out");
  EXPECT_EQ(found.exit_code, 0) << found.err;
  EXPECT_NE(found.err.find("after step 4"), std::string::npos) << found.err;
  damage(older);
}

TEST_F(TrainingProgram, StartsOverWhenToldNotToResume) {
  const std::string expected = weights_after("out", "--save-steps 3");
  const auto again = train("out", "--resume never");
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(events("out", "step").size(), 12U);
  EXPECT_TRUE(weights_of("out") == expected);
}

TEST_F(TrainingProgram, KeepsItsOwnCheckpointsWhereAnEarlierRunLeftLaterOnes) {
  ASSERT_EQ(train("out", "--save-steps 3 --keep 2").exit_code, 0);
  const auto again = train("out", "--resume never --save-steps 1 --max-steps 2 --keep 2");
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_NE(again.err.find("checkpoint-6 of an earlier run is deleted"), std::string::npos) << again.err;
  for (const int step : {1, 2, 3, 6})
    EXPECT_EQ(fs::exists(path("out/checkpoint-" + std::to_string(step))), step <= 2) << step;
  const auto longer = train("out", "--max-steps 3");
  EXPECT_NE(longer.err.find("after step 2"), std::string::npos) << "the run goes on with its own: " << longer.err;
}

TEST_F(TrainingProgram, RefusesAFolderThatAnotherRunIsWriting) {
  fs::create_directories(path("out"));
  const std::string script =
      scratch_.write("two.sh", std::string(SLUICE_PROGRAM) + " " + train_arguments("out", "--max-steps 2000") +
                                   " 2>/dev/null & pid=$!\n"
                                   "for i in $(seq 3000); do grep -qs '\"step\":1,' " +
                                   path("out/metrics.jsonl") + " && break; sleep 0.01; done\n" + SLUICE_PROGRAM + " " +
                                   train_arguments("out", "") + " 2>" + path("second") +
                                   "; code=$?\nkill -KILL $pid; wait $pid; exit $code\n");
  const int status = std::system(("sh " + script + " 2>/dev/null").c_str());
  EXPECT_NE(WEXITSTATUS(status), 0);
  EXPECT_NE(WEXITSTATUS(status), 70);
  EXPECT_NE(cli::read_whole(path("second")).find("another"), std::string::npos) << cli::read_whole(path("second"));
}

}  // namespace
}  // namespace sluice::train
