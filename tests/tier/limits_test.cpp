// Faked /proc and /sys trees: other machines, containers and quotas than this one.
#include "tier/limits.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "tier/store_cases.h"

namespace sluice::tier {
namespace {

class Limits : public testing::Test {
 protected:
  void SetUp() override {
    write("proc/meminfo", "MemTotal:       16777216 kB\nMemFree:  1000 kB\nMemAvailable:    8388608 kB\n");
    write("proc/self/status",
          "Name:\tx\nVmSize:\t  204800 kB\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n"
          "VmData:\t  102400 kB\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\n");
    for (int cpu = 0; cpu < 8; ++cpu) {
      const int core = cpu % 4;
      write("cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list",
            std::to_string(core) + "," + std::to_string(core + 4) + "\n");
    }
  }
  void write(const std::string& name, const std::string& text) {
    const auto path = folder_.path() / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  [[nodiscard]] SystemRoots roots() const {
    return {.proc = folder_.path() / "proc", .cgroup = folder_.path() / "cgroup", .cpu = folder_.path() / "cpu"};
  }
  TemporaryFolder folder_;
};

TEST_F(Limits, TheProcessorNamesItself) {
  EXPECT_EQ(cpu_model(roots()), "cpu");
  write("proc/cpuinfo", "processor\t: 0\nmodel name\t: A Core 9 @ 2.0GHz\nflags\t: fpu\n");
  EXPECT_EQ(cpu_model(roots()), "A Core 9 @ 2.0GHz");
}

TEST_F(Limits, WithoutGroupsMemAvailableCounts) {
  EXPECT_EQ(available_host_memory(roots()), 8 * GiB);
  EXPECT_EQ(host_memory_limits(roots()).size(), 1U);
}

TEST_F(Limits, SmallestV2AncestorCountsWithoutInactiveFilePages) {
  write("cgroup/cgroup.controllers", "memory cpu\n");
  write("proc/self/cgroup", "0::/job/task\n");
  write("cgroup/job/memory.max", std::to_string(4 * GiB) + "\n");
  write("cgroup/job/memory.current", std::to_string(2 * GiB) + "\n");
  write("cgroup/job/memory.stat", "active_file 7\ninactive_file " + std::to_string(GiB) + "\n");
  write("cgroup/job/task/memory.max", "max\n");
  write("cgroup/job/task/memory.high", std::to_string(5 * GiB) + "\n");
  write("cgroup/job/task/memory.current", std::to_string(GiB) + "\n");
  EXPECT_EQ(available_host_memory(roots()), 3 * GiB);
  const auto limits = host_memory_limits(roots());
  ASSERT_EQ(limits.size(), 3U);
  EXPECT_NE(limits[1].source.find("memory.high"), std::string::npos);
  EXPECT_EQ(limits[1].available, 4 * GiB);
}

TEST_F(Limits, V1LimitsOfEveryAncestorCountAndNoLimitIsNone) {
  write("proc/self/cgroup", "5:memory:/slurm/job7\n0::/elsewhere\n");
  write("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("cgroup/memory/slurm/memory.limit_in_bytes", std::to_string(2 * GiB) + "\n");
  write("cgroup/memory/slurm/memory.usage_in_bytes", std::to_string(3 * GiB / 2) + "\n");
  write("cgroup/memory/slurm/job7/memory.limit_in_bytes", std::to_string(GiB) + "\n");
  write("cgroup/memory/slurm/job7/memory.usage_in_bytes", std::to_string(GiB / 4) + "\n");
  EXPECT_EQ(available_host_memory(roots()), GiB / 2);
  EXPECT_EQ(host_memory_limits(roots()).size(), 3U);
}

TEST_F(Limits, AContainersForeignPathStillFindsTheMount) {
  write("proc/self/cgroup", "5:memory:/docker/0123456789ab\n");
  write("cgroup/memory/memory.limit_in_bytes", std::to_string(GiB) + "\n");
  write("cgroup/memory/memory.usage_in_bytes", std::to_string(GiB / 4) + "\n");
  EXPECT_EQ(available_host_memory(roots()), 3 * GiB / 4);
}

TEST_F(Limits, AnOverdrawnGroupLeavesNothing) {
  write("proc/self/cgroup", "5:memory:/\n");
  write("cgroup/memory/memory.limit_in_bytes", "1048576\n");
  write("cgroup/memory/memory.usage_in_bytes", "2097152\n");
  EXPECT_EQ(available_host_memory(roots()), 0);
}

TEST_F(Limits, ResourceLimitsCountWhatTheProcessHasAlready) {
  write("proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units\n"
        "Max data size             1073741824           unlimited            bytes\n"
        "Max address space         unlimited            unlimited            bytes\n");
  EXPECT_EQ(available_host_memory(roots()), GiB - 100 * MiB);
  write("proc/self/limits", "Max address space         536870912            unlimited            bytes\n");
  EXPECT_EQ(available_host_memory(roots()), 512 * MiB - 200 * MiB);
}

TEST_F(Limits, SaysWhenNothingIsKnown) {
  EXPECT_THROW(available_host_memory({.proc = folder_.path() / "no", .cgroup = folder_.path() / "no"}), IoError);
}

TEST_F(Limits, ReadsTheProcess) {
  const ProcessMemory memory = read_process_memory(roots());
  EXPECT_EQ(memory.resident, 10 * MiB);
  EXPECT_EQ(memory.peak_resident, 20 * MiB);
  EXPECT_EQ(memory.address_space, 200 * MiB);
  EXPECT_EQ(memory.data, 100 * MiB);
}

TEST_F(Limits, CountsCoresNotHardwareThreads) { EXPECT_EQ(physical_cores(roots()), 4); }

TEST_F(Limits, CoresRespectAffinityAndQuota) {
  write("proc/self/status", "Cpus_allowed_list:\t0,4,1\n");
  EXPECT_EQ(physical_cores(roots()), 2);
  write("proc/self/cgroup", "3:cpu,cpuacct:/a\n");
  write("cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n");
  write("cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(physical_cores(roots()), 2);
  write("cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "50000\n");
  EXPECT_EQ(physical_cores(roots()), 1);
}

TEST_F(Limits, CpuMaxIsRoundedUp) {
  write("cgroup/cgroup.controllers", "cpu\n");
  write("proc/self/cgroup", "0::/a/b\n");
  write("cgroup/a/cpu.max", "250000 100000\n");
  write("cgroup/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(physical_cores(roots()), 3);
}

TEST(LimitsOfThisMachine, ArePlausible) {
  EXPECT_GT(available_host_memory(), 0);
  EXPECT_GE(physical_cores(), 1);
  const ProcessMemory memory = read_process_memory();
  EXPECT_GT(memory.resident, MiB);
  EXPECT_GE(memory.peak_resident, memory.resident / 2);
  EXPECT_GT(process_work().cpu, 0.0);
  EXPECT_GT(process_work().minor_faults, 0);
  EXPECT_GT(free_disk_space(std::filesystem::temp_directory_path()), 0);
  EXPECT_THROW(free_disk_space("/no/such/folder"), IoError);
}

}  // namespace
}  // namespace sluice::tier
