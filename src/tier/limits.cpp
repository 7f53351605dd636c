#include "tier/limits.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <set>

#include "base/error.h"
#include "tier/proc_files.h"

namespace sluice::tier {
namespace {

// Values at or above this are how cgroup v1 says "no limit" (INT64_MAX rounded down to a page).
constexpr Bytes kNoLimit = Bytes{1} << 62;

std::optional<Bytes> number_in(const std::filesystem::path& file) {
  const auto text = read_small_file(file);
  return text ? leading_number(*text) : std::nullopt;
}

// "MemAvailable:   123 kB" as bytes.
std::optional<Bytes> kilobytes_of(std::string_view text, std::string_view key) {
  const auto value = value_of(text, key);
  const auto number = value ? leading_number(*value) : std::nullopt;
  return number ? std::optional(*number * KiB) : std::nullopt;
}

// Bytes of a group that the kernel gives back at once when asked: file pages not in recent use.
Bytes reclaimable(const std::filesystem::path& folder, std::string_view key) {
  const auto stat = read_small_file(folder / "memory.stat");
  const auto value = stat ? value_of(*stat, key) : std::nullopt;
  return value ? leading_number(*value).value_or(0) : 0;
}

void add_limit(std::vector<MemoryLimit>& limits, std::string source, std::optional<Bytes> limit, Bytes used) {
  if (!limit || *limit >= kNoLimit) return;
  limits.push_back({.source = std::move(source), .limit = *limit, .available = std::max<Bytes>(0, *limit - used)});
}

void add_cgroup_limits(std::vector<MemoryLimit>& limits, const SystemRoots& roots) {
  for (const CgroupFolders& group : find_cgroups(roots.proc, roots.cgroup, "memory")) {
    for (const auto& folder : group.folders) {
      const std::string name = (group.v2 ? "cgroup v2 " : "cgroup v1 ") + folder.string();
      const Bytes given_back = reclaimable(folder, group.v2 ? "inactive_file " : "total_inactive_file ");
      const auto usage = number_in(folder / (group.v2 ? "memory.current" : "memory.usage_in_bytes")).value_or(0);
      const Bytes used = std::max<Bytes>(0, usage - given_back);
      if (group.v2) {
        add_limit(limits, name + " memory.max", number_in(folder / "memory.max"), used);
        add_limit(limits, name + " memory.high", number_in(folder / "memory.high"), used);
      } else {
        add_limit(limits, name + " memory.limit_in_bytes", number_in(folder / "memory.limit_in_bytes"), used);
      }
    }
  }
}

void add_resource_limits(std::vector<MemoryLimit>& limits, const SystemRoots& roots) {
  const auto text = read_small_file(roots.proc / "self/limits");
  if (!text) return;
  const ProcessMemory process = read_process_memory(roots);
  const auto soft_limit = [&](std::string_view key) {
    const auto value = value_of(*text, key);
    return value ? leading_number(*value) : std::nullopt;
  };
  add_limit(limits, "RLIMIT_AS", soft_limit("Max address space"), process.address_space);
  add_limit(limits, "RLIMIT_DATA", soft_limit("Max data size"), process.data);
}

// The smallest cpu quota of all groups in whole cores, or nothing.
std::optional<int> cpu_quota(const SystemRoots& roots) {
  std::optional<int> smallest;
  const auto take = [&](std::optional<Bytes> quota, std::optional<Bytes> period) {
    if (!quota || !period || *period <= 0 || *quota <= 0) return;
    const auto cores = static_cast<int>(std::min<Bytes>((*quota + *period - 1) / *period, 1 << 20));
    smallest = std::min(cores, smallest.value_or(cores));
  };
  for (const CgroupFolders& group : find_cgroups(roots.proc, roots.cgroup, "cpu")) {
    for (const auto& folder : group.folders) {
      if (!group.v2) {
        take(number_in(folder / "cpu.cfs_quota_us"), number_in(folder / "cpu.cfs_period_us"));
        continue;
      }
      const auto text = read_small_file(folder / "cpu.max").value_or("");  // "200000 100000" or "max 100000"
      const auto blank = text.find(' ');
      if (blank != std::string::npos)
        take(leading_number(text), leading_number(std::string_view(text).substr(blank + 1)));
    }
  }
  return smallest;
}

}  // namespace

std::vector<MemoryLimit> host_memory_limits(const SystemRoots& roots) {
  std::vector<MemoryLimit> limits;
  if (const auto text = read_small_file(roots.proc / "meminfo")) {
    const auto available = kilobytes_of(*text, "MemAvailable:");
    const auto total = kilobytes_of(*text, "MemTotal:");
    if (available)
      limits.push_back({.source = "MemAvailable", .limit = total.value_or(*available), .available = *available});
  }
  add_cgroup_limits(limits, roots);
  add_resource_limits(limits, roots);
  return limits;
}

Bytes available_host_memory(const SystemRoots& roots) {
  const auto limits = host_memory_limits(roots);
  if (limits.empty())
    throw IoError("tier.limits", "free memory is unknown", "no limit could be read below " + roots.proc.string(),
                  "mount /proc");
  return std::min_element(limits.begin(), limits.end(),
                          [](const auto& a, const auto& b) { return a.available < b.available; })
      ->available;
}

ProcessMemory read_process_memory(const SystemRoots& roots) {
  const auto text = read_small_file(roots.proc / "self/status").value_or("");
  return {.resident = kilobytes_of(text, "VmRSS:").value_or(0),
          .peak_resident = kilobytes_of(text, "VmHWM:").value_or(0),
          .address_space = kilobytes_of(text, "VmSize:").value_or(0),
          .data = kilobytes_of(text, "VmData:").value_or(0)};
}

ProcessWork process_work() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return {static_cast<Seconds>(time.tv_sec) + static_cast<Seconds>(time.tv_nsec) * 1e-9, usage.ru_minflt};
}

int physical_cores(const SystemRoots& roots) {
  const auto status = read_small_file(roots.proc / "self/status").value_or("");
  std::set<std::string> cores;  // hardware threads of one core have the same list of siblings
  for (const int cpu : parse_cpu_list(value_of(status, "Cpus_allowed_list:").value_or("0"))) {
    const std::string name = "cpu" + std::to_string(cpu);
    cores.insert(read_small_file(roots.cpu / name / "topology/thread_siblings_list").value_or(name));
  }
  const int allowed = std::max(1, static_cast<int>(cores.size()));
  return std::clamp(cpu_quota(roots).value_or(allowed), 1, allowed);
}

bool has_bf16_products() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16") != 0;
}

std::string cpu_model(const SystemRoots& roots) {
  const std::optional<std::string> text = read_small_file(roots.proc / "cpuinfo");
  const auto value = text ? value_of(*text, "model name") : std::nullopt;
  if (!value) return "cpu";
  const std::size_t name = value->find_first_not_of(" \t:");
  return name == std::string_view::npos ? "cpu" : std::string(value->substr(name));
}

Bytes free_disk_space(const std::filesystem::path& folder) {
  struct statvfs status {};
  if (::statvfs(folder.c_str(), &status) != 0)
    throw_errno("tier.limits", "asking for free space", folder.string(), errno, "check the path");
  return static_cast<Bytes>(status.f_bavail) * static_cast<Bytes>(status.f_frsize);
}

Bytes free_spill_space(std::span<const std::string> folders) {
  std::set<dev_t> seen;
  Bytes free = 0;
  for (const std::string& folder : folders) {
    std::filesystem::path existing = std::filesystem::absolute(folder);
    while (!std::filesystem::is_directory(existing) && existing.has_relative_path()) existing = existing.parent_path();
    struct stat status {};
    if (::stat(existing.c_str(), &status) != 0)
      throw_errno("tier.limits", "asking for free space", existing.string(), errno, "check the path");
    if (seen.insert(status.st_dev).second) free += free_disk_space(existing) / 100 * 95;
  }
  return free;
}

}  // namespace sluice::tier
