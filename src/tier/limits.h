// What this process may use of the machine: memory below every cgroup and resource limit, cores, disk space. The roots
// of /proc and /sys are parameters so that tests can show other machines.
#pragma once
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/units.h"

namespace sluice::tier {

struct SystemRoots {
  std::filesystem::path proc = "/proc";
  std::filesystem::path cgroup = "/sys/fs/cgroup";
  std::filesystem::path cpu = "/sys/devices/system/cpu";
};

/// One limit that binds this process.
struct MemoryLimit {
  std::string source;   ///< "MemAvailable", "cgroup v2 /a/b memory.max", "RLIMIT_AS", for people
  Bytes limit = 0;      ///< what it allows in all
  Bytes available = 0;  ///< what is left of it, >= 0; file pages that the kernel gives back at once count as left
};

/// MemAvailable, cgroup v1 and v2 limits of every ancestor, RLIMIT_AS and RLIMIT_DATA; those that are set. What cannot
/// be read is left out.
std::vector<MemoryLimit> host_memory_limits(const SystemRoots& roots = {});

/// How many more bytes than now this process may use: the smallest `available` of all limits. Throws IoError when not
/// one of them can be read.
Bytes available_host_memory(const SystemRoots& roots = {});

struct ProcessMemory {
  Bytes resident = 0;       ///< VmRSS
  Bytes peak_resident = 0;  ///< VmHWM
  Bytes address_space = 0;  ///< VmSize
  Bytes data = 0;           ///< VmData
};

/// From /proc/self/status; a missing line leaves 0.
ProcessMemory read_process_memory(const SystemRoots& roots = {});

/// What all threads of this process have used since it began.
struct ProcessWork {
  Seconds cpu = 0;                ///< user and system time
  std::int64_t minor_faults = 0;  ///< pages touched for the first time, or again after the kernel took them back
};
ProcessWork process_work();

/// Cores (not hardware threads) that this process may run on: affinity, then the cpu quota of every cgroup ancestor
/// (rounded up). At least 1.
int physical_cores(const SystemRoots& roots = {});

/// Whether this processor has instructions that multiply bf16 numbers and sum in fp32 (AVX512_BF16, which AMX implies).
bool has_bf16_products();

/// The processor as it names itself in /proc/cpuinfo; "cpu" when it does not.
std::string cpu_model(const SystemRoots& roots = {});

/// Bytes that an ordinary user may still write below `folder`. Throws IoError.
Bytes free_disk_space(const std::filesystem::path& folder);

/// What the disk tier may take of `folders` when nobody says: their free space less 5 %. Folders on one file system
/// share it. A folder that is not there yet counts as the nearest one above it.
Bytes free_spill_space(std::span<const std::string> folders);

}  // namespace sluice::tier
