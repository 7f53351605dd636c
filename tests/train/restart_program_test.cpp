// `sluice train --restarts N`: a rank is killed at any moment, the job goes on by itself and ends with the bits of one
// that was never disturbed.
#include <algorithm>
#include <fstream>
#include <random>
#include <thread>

#include "train/job_program.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

/// Processes below `process` that have no children: the ranks of a job, in their order.
std::vector<pid_t> leaves_below(pid_t process) {
  std::vector<pid_t> leaves;
  std::error_code code;
  for (const auto& task : fs::directory_iterator("/proc/" + std::to_string(process) + "/task", code)) {
    std::ifstream children(task.path() / "children");
    for (pid_t child = 0; children >> child;) {
      const std::vector<pid_t> below = leaves_below(child);
      if (below.empty()) leaves.push_back(child);
      leaves.insert(leaves.end(), below.begin(), below.end());
    }
  }
  return leaves;
}

class RestartProgram : public JobProgram {
 protected:
  static constexpr const char* kSteps = "--max-steps 30 --save-steps 5 ";

  /// Until there is a checkpoint of `step` or the next one; false: not within a minute.
  [[nodiscard]] bool wait_for(const std::string& output, int step) const {
    const auto is_saved = [&](int number) {
      return fs::exists(path(output) + "/checkpoint-" + std::to_string(number));
    };
    for (int polls = 0; polls < 60'000; ++polls) {
      if (is_saved(step) || is_saved(step + 5)) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

  /// Kills one of the ranks after each of two checkpoints; gives what the job said.
  std::string disturb(const std::string& output, const std::string& more, unsigned seed) {
    std::mt19937 generator(seed);
    launch::ChildProcess job(words(output, std::string(kSteps) + "--restarts 5 " + more));
    int killed = 0;
    for (const int step : {5, 15}) {
      if (!wait_for(output, step)) break;
      const std::vector<pid_t> ranks = leaves_below(job.process());
      if (ranks.empty()) continue;
      kill(ranks[generator() % ranks.size()], SIGKILL);
      ++killed;
    }
    EXPECT_EQ(job.wait(), 0) << job.text();
    EXPECT_GT(killed, 0);
    return job.text();
  }

  void expect_undisturbed(const std::string& name, const std::string& more) {
    const unsigned seed = std::random_device()();
    const std::string said = disturb(name, more, seed);
    EXPECT_NE(said.find("restart 1 of 5 from the newest checkpoint"), std::string::npos) << said;
    EXPECT_NE(said.find("resuming from"), std::string::npos) << said;
    const std::string expected = weights_after(name + "-undisturbed", kSteps + more);
    EXPECT_TRUE(weights_of(name) == expected) << "seed " << seed << "\n" << said;
    EXPECT_EQ(steps(name), steps(name + "-undisturbed"));
  }
};

TEST_F(RestartProgram, GoesOnAloneAfterAKill) { expect_undisturbed("one", ""); }

TEST_F(RestartProgram, GoesOnAfterTheKillOfAnyRank) {
  if (!has_library("gloo")) GTEST_SKIP() << "this build has no gloo";
  expect_undisturbed("gloo", "--nproc 2 --zero-stage 3 --collective gloo");
}

TEST_F(RestartProgram, GoesOnUnderMpiToo) {
  if (!has_library("mpi")) GTEST_SKIP() << "this build has no mpi";
  expect_undisturbed("mpi", "--nproc 2 --zero-stage 2 --collective mpi");
}

TEST_F(RestartProgram, EndsWhenItsRestartsAreUsedUp) {
  // Every life dies at its third gradient.
  const auto result = train("poor", "--save-steps 100 --restarts 2", "SLUICE_FAIL=exec.gradient@3=KILL");
  EXPECT_EQ(result.exit_code, 5) << result.err;
  EXPECT_NE(result.err.find("restart 2 of 2"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("start again to resume from the newest checkpoint"), std::string::npos) << result.err;
}

TEST_F(RestartProgram, DoesNotRepeatWhatWouldComeAgain) {
  const auto numerics =
      train("nan", "--nan-policy stop --save-steps 1 --restarts 3", "SLUICE_FAIL=exec.gradient@3=EIO");
  EXPECT_EQ(numerics.exit_code, 6) << numerics.err;
  EXPECT_EQ(numerics.err.find("restart 1"), std::string::npos) << numerics.err;
  const auto memory = train("memory", "--restarts 3 --save-steps 1 " + budget(16 * MiB));
  EXPECT_EQ(memory.exit_code, 3) << memory.err;
  EXPECT_EQ(memory.err.find("restart 1"), std::string::npos) << memory.err;
  expect_failure(train("never", "--restarts 3 --save-steps 1 --resume never"), 2,
                 "--restarts contradicts --resume never");
}

TEST_F(RestartProgram, StopsWhenItIsAskedTo) {
  launch::ChildProcess job(words("stopped", std::string(kSteps) + "--restarts 3"));
  ASSERT_TRUE(wait_for("stopped", 5)) << job.text();
  kill(job.process(), SIGTERM);
  EXPECT_EQ(job.wait(), 75) << job.text();
  EXPECT_EQ(job.text().find("restart 1"), std::string::npos) << job.text();
}

}  // namespace
}  // namespace sluice::train
