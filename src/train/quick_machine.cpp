#include "train/quick_machine.h"

#include <ATen/Parallel.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <exception>
#include <filesystem>
#include <functional>

#include "base/error.h"
#include "base/log.h"
#include "collective/loopback.h"
#include "recipe/machine_file.h"
#include "tier/limits.h"
#include "tier/measure.h"
#include "train/budget.h"
#include "train/compute_rates.h"
#include "train/contention.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

constexpr Bytes kDiskSample = 64 * MiB;

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

int threads_of(const recipe::Settings& settings) { return settings.threads.value_or(tier::physical_cores()); }

// "quick-amd-epyc-2-threads-disk-fe01.json"
fs::path quick_file(const recipe::Settings& settings) {
  std::string name = "quick-";
  for (const char c : tier::cpu_model()) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0)
      name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    else if (name.back() != '-')
      name += '-';
  }
  name += (name.back() == '-' ? "" : "-") + std::to_string(threads_of(settings)) + "-threads";
  struct stat status = {};
  if (!settings.spill_dir.empty() && ::stat(settings.spill_dir.front().c_str(), &status) == 0)
    name += "-disk-" + std::to_string(status.st_dev);
  return recipe::machine_file_path().parent_path() / (name + ".json");
}

Bytes memory_for(const recipe::Settings& settings) {
  const Bytes used = tier::read_process_memory().resident;
  const Bytes free = std::min(tier::available_host_memory(), settings.host_memory.value_or(GiB) - used);
  return std::clamp<Bytes>(free / 2, 16 * MiB, 96 * MiB);
}

plan::Machine measured_machine(const recipe::Settings& settings) {
  plan::Machine machine = recipe::default_cpu_machine(threads_of(settings));
  machine.name = tier::cpu_model();
  const recipe::ComputeMeasurement measured = measure_compute(Effort::Quick, memory_for(settings));
  machine.compute = measured.compute;
  machine.update_memory = measured.update_memory;
  machine.norm_memory = measured.norm_memory;
  machine.process_overhead = process_overhead(!settings.spill_dir.empty());
  const collective::LoopbackRates loopback = collective::measure_loopback(64 * MiB);
  machine.network.within_node = {loopback.rate, loopback.latency};
  if (settings.spill_dir.empty() || !is_there(settings.spill_dir.front())) return machine;
  const fs::path folder = settings.spill_dir.front();
  if (tier::free_disk_space(folder) < 8 * kDiskSample) return machine;
  const tier::DiskRates disk = tier::measure_disk(folder, kDiskSample);
  plan::Tier& host = machine.tiers[0];
  host.down = disk.write;
  host.up = disk.read;
  host.down_both = disk.mixed_write;
  host.up_both = disk.mixed_read;
  host.latency = disk.latency;
  machine.contention = measure_contention(folder, kDiskSample, disk);
  return machine;
}

// In a process of its own: the heap and the library's buffers of a measurement would count in this one's budget.
bool succeeds_in_child(const std::function<void()>& work) {
  const pid_t child = ::fork();
  if (child < 0) return false;
  if (child == 0) {
    int code = 1;
    try {
      work();
      code = 0;
    } catch (const std::exception& error) {
      log_warning(error.what());
    }
    ::_exit(code);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return false;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

void measure_unknown_machine(const recipe::Settings& settings) {
  if (is_there(recipe::machine_file_path())) return;
  const fs::path file = quick_file(settings);
  if (is_there(file)) {
    log_info("time is forecast from a quick measurement; `sluice doctor` makes a better one");
    return;
  }
  log_info("no machine file: measuring this machine for a second; `sluice doctor` does it thoroughly");
  const bool kept = succeeds_in_child([&] {
    at::set_num_threads(threads_of(settings));
    recipe::write_machine_file(file, measured_machine(settings));
  });
  if (!kept) log_warning("the quick measurement failed: time is forecast from cautious rates");
}

plan::Machine known_machine(const recipe::Settings& settings, int ranks_per_node) {
  const fs::path file = quick_file(settings);
  const bool is_quick = !is_there(recipe::machine_file_path()) && is_there(file);
  plan::Machine machine = is_quick ? recipe::read_machine_file(file) : recipe::this_machine();
  // Doctor measures with all cores, the quick measurement with those that the process has.
  const double of_cores = std::min(1.0, static_cast<double>(threads_of(settings)) / machine.num_threads);
  recipe::take_rate_share(machine, of_cores, 1.0 / ranks_per_node);
  machine.network.ranks_per_node = ranks_per_node;
  return machine;
}

}  // namespace sluice::train
