#include "launch/environment.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"

namespace sluice::launch {
namespace {

Environment detect_in(const std::map<std::string, std::string>& variables) {
  return detect([&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  });
}

TEST(LaunchEnvironment, IsOneRankWithoutALauncher) {
  const Environment environment = detect_in({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}});
  EXPECT_EQ(environment.launcher, Launcher::None);
  EXPECT_EQ(environment.place.world_size, 1);
  EXPECT_EQ(detect_in({{"RANK", "0"}, {"WORLD_SIZE", "1"}}).launcher, Launcher::None);
}

TEST(LaunchEnvironment, ReadsTorchrun) {
  const Environment environment = detect_in({{"RANK", "5"},
                                             {"WORLD_SIZE", "8"},
                                             {"LOCAL_RANK", "1"},
                                             {"LOCAL_WORLD_SIZE", "4"},
                                             {"MASTER_ADDR", "node7"},
                                             {"MASTER_PORT", "1234"},
                                             {"TORCHELASTIC_RUN_ID", "job"},
                                             {"TORCHELASTIC_USE_AGENT_STORE", "True"}});
  EXPECT_EQ(environment.launcher, Launcher::Torchrun);
  EXPECT_EQ(environment.place.rank, 5);
  EXPECT_EQ(environment.place.world_size, 8);
  EXPECT_EQ(environment.place.local_rank, 1);
  EXPECT_EQ(environment.place.local_size, 4);
  EXPECT_EQ(environment.place.master_address, "node7");
  EXPECT_EQ(environment.place.master_port, 1234);
  EXPECT_TRUE(environment.place.store_runs);
  EXPECT_EQ(environment.place.secret, "job/0");
}

TEST(LaunchEnvironment, ReadsMpirunAndPmi) {
  const Environment open_mpi = detect_in({{"OMPI_COMM_WORLD_RANK", "2"},
                                          {"OMPI_COMM_WORLD_SIZE", "3"},
                                          {"OMPI_COMM_WORLD_LOCAL_RANK", "0"},
                                          {"OMPI_COMM_WORLD_LOCAL_SIZE", "1"}});
  EXPECT_EQ(open_mpi.launcher, Launcher::Mpirun);
  EXPECT_EQ(open_mpi.place.rank, 2);
  EXPECT_EQ(open_mpi.place.local_size, 1);
  EXPECT_EQ(open_mpi.place.master_address, "127.0.0.1");
  EXPECT_EQ(detect_in({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}}).launcher, Launcher::Pmi);
}

TEST(LaunchEnvironment, ReadsAStepOfSlurm) {
  const Environment environment = detect_in({{"SLURM_PROCID", "3"},
                                             {"SLURM_STEP_NUM_TASKS", "4"},
                                             {"SLURM_LOCALID", "0"},
                                             {"SLURM_NODEID", "1"},
                                             {"SLURM_STEP_NUM_NODES", "2"},
                                             {"SLURM_STEP_TASKS_PER_NODE", "3,1"},
                                             {"SLURM_STEP_NODELIST", "gpu[03-04]"},
                                             {"SLURM_JOB_ID", "77"},
                                             {"SLURM_STEP_ID", "2"}});
  EXPECT_EQ(environment.launcher, Launcher::Slurm);
  EXPECT_EQ(environment.place.rank, 3);
  EXPECT_EQ(environment.place.local_size, 1);
  EXPECT_EQ(environment.place.master_address, "gpu03");
  EXPECT_EQ(environment.place.master_port, 20000 + 77 * 16 + 2);
  EXPECT_EQ(environment.place.secret, "77.2");
}

TEST(LaunchEnvironment, FindsTheFirstHostOfASlurmList) {
  EXPECT_EQ(first_slurm_host("gpu[03-05,9],head"), "gpu03");
  EXPECT_EQ(first_slurm_host("head,gpu[03-05]"), "head");
  EXPECT_EQ(first_slurm_host("rack[2,4]-node,x"), "rack2-node");
  EXPECT_EQ(first_slurm_host("single"), "single");
}

TEST(LaunchEnvironment, RefusesContradictions) {
  EXPECT_THROW(detect_in({{"RANK", "4"}, {"WORLD_SIZE", "4"}}), ConfigError);
  EXPECT_THROW(detect_in({{"RANK", "x"}, {"WORLD_SIZE", "4"}}), ConfigError);
  EXPECT_THROW(detect_in({{"RANK", "1"}, {"WORLD_SIZE", "4"}, {"LOCAL_RANK", "1"}, {"LOCAL_WORLD_SIZE", "1"}}),
               ConfigError);
}

}  // namespace
}  // namespace sluice::launch
