// Jobs of several processes from start to end, well and badly, over each library that this build has.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "child_process.h"
#include "collective/library.h"
#include "launch/launcher.h"

namespace sluice::launch {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<std::string> words_for(const std::string& library, int num_ranks, const std::string& mode,
                                   int deadline = 60'000) {
  return {
      SLUICE_RANK_PROGRAM, "--nproc", std::to_string(num_ranks), "--deadline", std::to_string(deadline), library, mode};
}

std::vector<std::string> installed_libraries() {
  std::vector<std::string> names;
  for (const auto& row : collective::library_catalog()) {
    if (row.make.is_installed()) names.emplace_back(row.name);
  }
  return names;
}

/// The process of `rank`, from the line that the rank program prints.
pid_t process_of(const ChildProcess& job, int rank) {
  const std::string key = "process " + std::to_string(rank) + " ";
  const std::size_t at = job.text().find(key);
  return at == std::string::npos ? -1 : std::atoi(job.text().c_str() + at + key.size());
}

class Job : public testing::TestWithParam<std::string> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Job);

TEST_P(Job, KeepsTheContractOnAnyNumberOfRanks) {
  for (const int num_ranks : {1, 2, 3, 4}) {
    ChildProcess job(words_for(GetParam(), num_ranks, "contract"));
    EXPECT_EQ(job.wait(), 0) << job.text();
    EXPECT_NE(job.text().find("contract holds on " + std::to_string(num_ranks) + " ranks"), std::string::npos)
        << job.text();
  }
}

TEST_P(Job, EndsWithTheCodeOfTheRankThatFailed) {
  ChildProcess job(words_for(GetParam(), 3, "fail"));
  EXPECT_EQ(job.wait(), 4) << job.text();
  EXPECT_NE(job.text().find("/spill: no space left"), std::string::npos) << job.text();
}

TEST_P(Job, NamesARankThatDoesNotCome) {
  ChildProcess job(words_for(GetParam(), 3, "wait", 1500));
  EXPECT_EQ(job.wait(), 5) << job.text();
  EXPECT_NE(job.text().find("no answer from rank 2 within 1.500 s"), std::string::npos) << job.text();
  EXPECT_NE(job.text().find("barrier number 1 of group 0 (3 ranks)"), std::string::npos) << job.text();
  EXPECT_NE(job.text().find("NOT DONE"), std::string::npos) << job.text();
}

INSTANTIATE_TEST_SUITE_P(Libraries, Job, testing::ValuesIn(installed_libraries()),
                         [](const auto& test) { return test.param; });

class GlooJob : public testing::Test {
 protected:
  void SetUp() override {
    const auto names = installed_libraries();
    if (std::find(names.begin(), names.end(), "gloo") == names.end()) GTEST_SKIP() << "this build has no gloo";
  }

  /// A job of four ranks at work, one of which gets `signal_number`; checks what the others say of it.
  void lose_a_rank(int victim, int signal_number, int deadline) {
    ChildProcess job(words_for("gloo", 4, "loop", deadline));
    ASSERT_TRUE(job.read_until("looping")) << job.text();
    ASSERT_GT(process_of(job, victim), 0) << job.text();
    const auto begin = Clock::now();
    kill(process_of(job, victim), signal_number);
    EXPECT_EQ(job.wait(), 5) << job.text();
    EXPECT_LT(Clock::now() - begin, std::chrono::seconds(5) + std::chrono::milliseconds(deadline));
    const std::string name = "rank " + std::to_string(victim);
    for (int rank = 0; rank < 4; ++rank) {
      if (rank == victim) continue;
      // Its own line, wherever the launcher put it.
      const std::string begin_of_line = "[collective] rank " + std::to_string(rank) + ": ";
      const std::size_t at =
          std::min(job.text().find(begin_of_line + "all_reduce"), job.text().find(begin_of_line + "barrier"));
      ASSERT_NE(at, std::string::npos) << job.text();
      const std::string line = job.text().substr(at, job.text().find('\n', at) - at);
      EXPECT_TRUE(line.find(name + " is lost") != std::string::npos ||
                  line.find(name + " is missing") != std::string::npos ||
                  line.find("no answer from " + name + " within") != std::string::npos)
          << line;
    }
    if (signal_number == SIGKILL) {
      EXPECT_NE(job.text().find("[launch] " + name + " was killed by signal 9"), std::string::npos) << job.text();
    }
  }
};

TEST_F(GlooJob, EndsWhenAnyRankIsKilledAndAllOthersNameIt) {
  for (const int victim : {0, 1, 3}) lose_a_rank(victim, SIGKILL, 60'000);
}

TEST_F(GlooJob, EndsWhenARankIsStoppedAndAllOthersNameIt) { lose_a_rank(2, SIGSTOP, 3000); }

TEST_F(GlooJob, StartsAgainAfterALostRankAndStopsWhenItIsAsked) {
  const auto words = [](const char* restarts, const char* mode) {
    return std::vector<std::string>{SLUICE_RANK_PROGRAM, "--nproc", "3", "--restarts", restarts, "gloo", mode};
  };
  ChildProcess job(words("2", "loop"));
  ASSERT_TRUE(job.read_until("looping")) << job.text();
  kill(process_of(job, 1), SIGKILL);
  ASSERT_TRUE(job.read_until("rank 1 was killed by signal 9 (Killed)")) << job.text();
  ASSERT_TRUE(job.read_until("all 3 ranks have ended, restart 1 of 2 from the newest checkpoint")) << job.text();
  ASSERT_TRUE(job.read_until("looping", job.text().find("restart 1 of 2"))) << job.text();
  kill(job.process(), SIGTERM);
  EXPECT_EQ(job.wait(), 75) << job.text();
  EXPECT_EQ(job.text().find("restart 2"), std::string::npos) << job.text();

  ChildProcess failing(words("1", "fail"));
  EXPECT_EQ(failing.wait(), 4) << failing.text();
  EXPECT_NE(failing.text().find("restart 1 of 1"), std::string::npos) << failing.text();
  EXPECT_NE(failing.text().find("ended, start again to resume"), std::string::npos) << failing.text();
}

TEST(Launcher, RestartsWhatMayGoWellTheNextTime) {
  for (const int code : {4, 5, 137, 139}) EXPECT_TRUE(is_worth_a_restart(code)) << code;
  for (const int code : {0, 1, 2, 3, 6, 70, 75, 130}) EXPECT_FALSE(is_worth_a_restart(code)) << code;
}

TEST_F(GlooJob, PassesTheWishToStopToAllRanks) {
  ChildProcess job(words_for("gloo", 3, "loop"));
  ASSERT_TRUE(job.read_until("looping")) << job.text();
  kill(job.process(), SIGTERM);
  EXPECT_EQ(job.wait(), 75) << job.text();
}

TEST_F(GlooJob, PutsTheNumberBeforeTheLinesOfOtherRanks) {
  ChildProcess job(words_for("gloo", 2, "loop"));
  ASSERT_TRUE(job.read_until("looping")) << job.text();
  kill(job.process(), SIGTERM);
  job.wait();
  EXPECT_NE(job.text().find("[rank 1] process 1 "), std::string::npos) << job.text();
  EXPECT_NE(
      job.text().find("2 ranks (2 on this machine), started by sluice --nproc, talking through gloo at 127.0.0.1"),
      std::string::npos)
      << job.text();
}

TEST_F(GlooJob, KeepsRanksOfAnotherJobOut) {
  // Rank 1 comes to rank 0's port with another secret.
  const std::vector<std::string> common = {"WORLD_SIZE=2", "LOCAL_WORLD_SIZE=2", "MASTER_ADDR=127.0.0.1",
                                           "MASTER_PORT=29417"};
  const auto rank = [&](int number, const std::string& secret) {
    std::vector<std::string> variables = common;
    variables.insert(variables.end(), {"RANK=" + std::to_string(number), "LOCAL_RANK=" + std::to_string(number),
                                       "SLUICE_JOB_SECRET=" + secret});
    return variables;
  };
  const std::vector<std::string> words = {SLUICE_RANK_PROGRAM, "--deadline", "3000", "gloo", "contract"};
  const auto first_variables = rank(0, "ours"), second_variables = rank(1, "theirs");
  ChildProcess first(words, first_variables);
  ChildProcess second(words, second_variables);
  EXPECT_EQ(first.wait(), 5) << first.text();
  EXPECT_EQ(second.wait(), 5) << second.text();
  EXPECT_NE(first.text().find("expected 2 ranks, got none of 1"), std::string::npos) << first.text();
}

TEST(Launcher, RefusesAContradictionToTheLauncherThatStartedIt) {
  const std::vector<std::string> variables = {"RANK=0", "WORLD_SIZE=4"};
  ChildProcess job({SLUICE_RANK_PROGRAM, "--nproc", "2", "gloo", "contract"}, variables);
  EXPECT_EQ(job.wait(), 2) << job.text();
  EXPECT_NE(job.text().find("--nproc contradicts torchrun: expected 4 ranks, got --nproc 2"), std::string::npos)
      << job.text();
}

TEST(Launcher, RefusesNcclByName) {
  ChildProcess job({SLUICE_RANK_PROGRAM, "--nproc", "2", "nccl", "contract"});
  EXPECT_EQ(job.wait(), 2) << job.text();
  EXPECT_NE(job.text().find("nccl is not available"), std::string::npos) << job.text();
}

}  // namespace
}  // namespace sluice::launch
