// Training under whatever starts ranks: MPI, and the environments that torchrun and Slurm leave. The bits are those of
// `--nproc`.
#include "train/job_program.h"

namespace sluice::train {
namespace {

class LaunchersProgram : public JobProgram {
 protected:
  static constexpr const char* kRanks = "--zero-stage 2 --grad-accumulation 1 ";

  void SetUp() override {
    JobProgram::SetUp();
    if (!has_library("gloo")) GTEST_SKIP() << "this build has no gloo";
    expected_ = weights_after("expected", std::string(kRanks) + "--nproc 2 --collective gloo");
  }

  /// Two processes, each with the variables that `of_rank` gives it.
  template <typename Variables>
  std::string run_two(const std::string& output, const Variables& of_rank) {
    const std::vector<std::string> first_variables = of_rank(0), second_variables = of_rank(1);
    launch::ChildProcess first(words(output, kRanks), first_variables), second(words(output, kRanks), second_variables);
    EXPECT_EQ(first.wait(), 0) << first.text();
    EXPECT_EQ(second.wait(), 0) << second.text();
    return first.text();
  }

  std::string expected_;
};

TEST_F(LaunchersProgram, MpiTrainsAsGlooDoes) {
  if (!has_library("mpi")) GTEST_SKIP() << "this build has no mpi";
  for (const char* stage : {"0", "3"}) {
    const std::string output = std::string("mpi-") + stage;
    const std::string more = std::string("--zero-stage ") + stage + " --grad-accumulation 1 --nproc 2 --collective mpi";
    EXPECT_TRUE(weights_after(output, more) == expected_) << "stage " << stage;
  }
}

TEST_F(LaunchersProgram, TorchrunsEnvironmentIsEnough) {
  const std::string port = std::to_string(20000 + getpid() % 10000);
  const std::string said = run_two("torchrun", [&](int rank) {
    const std::string number = std::to_string(rank);
    return std::vector<std::string>{
        "RANK=" + number, "LOCAL_RANK=" + number,  "WORLD_SIZE=2",        "LOCAL_WORLD_SIZE=2",
        "GROUP_RANK=0",   "MASTER_ADDR=127.0.0.1", "MASTER_PORT=" + port, "TORCHELASTIC_RUN_ID=test"};
  });
  EXPECT_NE(said.find("started by torchrun"), std::string::npos) << said;
  EXPECT_TRUE(weights_of("torchrun") == expected_);
}

TEST_F(LaunchersProgram, SlurmsEnvironmentIsEnough) {
  const std::string job = std::to_string(getpid());
  const std::string said = run_two("slurm", [&](int rank) {
    return std::vector<std::string>{"SLURM_PROCID=" + std::to_string(rank),
                                    "SLURM_LOCALID=" + std::to_string(rank),
                                    "SLURM_STEP_NUM_TASKS=2",
                                    "SLURM_NTASKS=2",
                                    "SLURM_STEP_TASKS_PER_NODE=2",
                                    "SLURM_STEP_NUM_NODES=1",
                                    "SLURM_STEP_NODELIST=localhost",
                                    "SLURM_NODEID=0",
                                    "SLURM_JOB_ID=" + job,
                                    "SLURM_STEP_ID=0"};
  });
  EXPECT_NE(said.find("started by Slurm"), std::string::npos) << said;
  EXPECT_TRUE(weights_of("slurm") == expected_);
}

}  // namespace
}  // namespace sluice::train
