// doctor: limits and rates of this machine, what is missing and how to fix it. Writes the machine file that plans use.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>

#include "base/error.h"
#include "base/log.h"
#include "cli/engine_loader.h"
#include "cli/verb.h"
#include "collective/loopback.h"
#include "recipe/machine_file.h"
#include "recipe/parse_value.h"
#include "tier/io_engine.h"
#include "tier/limits.h"
#include "tier/measure.h"
#include "tier/spill_file.h"

namespace sluice::cli {
namespace {

namespace fs = std::filesystem;

void print_row(const std::string& what, const std::string& found) {
  std::array<char, 64> padded;
  std::snprintf(padded.data(), padded.size(), "  %-24s", what.c_str());
  std::cout << padded.data() << " " << found << std::endl;
}

/// What is missing or slow, collected for the end.
class Advice {
 public:
  void add(std::string line) { lines_.push_back(std::move(line)); }
  void print() const {
    std::cout << (lines_.empty() ? "nothing is missing\n" : "what to fix\n");
    for (const std::string& line : lines_) std::cout << "  " << line << "\n";
  }

 private:
  std::vector<std::string> lines_;
};

std::string rate_text(double per_second, const char* unit) {
  std::array<char, 64> text;
  std::snprintf(text.data(), text.size(), "%.2f %s", per_second * 1e-9, unit);
  return text.data();
}

std::string percent_text(double share) { return std::to_string(std::lround(share * 100)) + " %"; }

Bytes check_memory(Advice& advice) {
  std::cout << "memory\n";
  for (const tier::MemoryLimit& limit : tier::host_memory_limits()) {
    print_row(format_bytes(limit.available), "free of " + format_bytes(limit.limit) + ": " + limit.source);
  }
  const Bytes available = tier::available_host_memory();
  print_row("a run may use", format_bytes(available));
  if (available < GiB)
    advice.add("little memory is free: close programs or raise the limit with the smallest figure above");
  rlimit locked = {};
  if (getrlimit(RLIMIT_MEMLOCK, &locked) == 0) {
    const bool unlimited = locked.rlim_cur == RLIM_INFINITY;
    print_row("locked memory", unlimited ? "unlimited" : format_bytes(static_cast<Bytes>(locked.rlim_cur)));
    if (!unlimited && locked.rlim_cur < static_cast<rlim_t>(64 * MiB)) {
      advice.add(
          "locked memory is small (disk transfers then pin pages one by one): raise it with `ulimit -l unlimited`");
    }
  }
  return available;
}

struct DiskFindings {
  Bytes capacity = 0;
  tier::DiskRates rates;     ///< of all folders together
  fs::path measured_folder;  ///< the first that was; empty: none
};

void check_folder(const fs::path& folder, Bytes sample, Advice& advice, DiskFindings& findings) {
  print_row("folder", folder.string());
  const Bytes free = tier::free_disk_space(folder);
  print_row("  free", format_bytes(free));
  findings.capacity += free - free / 20;
  const bool direct = tier::SpillFile(folder).direct();
  print_row("  O_DIRECT", direct ? "yes" : "no");
  if (!direct)
    advice.add(folder.string() + " has no O_DIRECT (transfers go through the page cache): use a folder on ext4 or xfs");
  if (free < 4 * sample) {
    advice.add(folder.string() +
               " has too little free space to measure its rates: free some, or name another --spill-dir");
    return;
  }
  log_info("measuring the disk of " + folder.string());
  const tier::DiskRates rates = tier::measure_disk(folder, sample);
  print_row("  read, write", rate_text(rates.read, "GB/s, ") + rate_text(rates.write, "GB/s (") + rates.engine + ")");
  print_row("  both at once", rate_text(rates.mixed_read, "GB/s read, ") + rate_text(rates.mixed_write, "GB/s write"));
  print_row("  a transfer's latency", format_seconds(rates.latency));
  findings.rates.read += rates.read;
  findings.rates.write += rates.write;
  findings.rates.mixed_read += rates.mixed_read;
  findings.rates.mixed_write += rates.mixed_write;
  findings.rates.latency = std::max(findings.rates.latency, rates.latency);
  findings.measured_folder = findings.measured_folder.empty() ? folder : findings.measured_folder;
}

DiskFindings check_disks(const Arguments& arguments, Advice& advice) {
  std::cout << "disk\n";
  const bool ring = tier::make_uring_engine({}) != nullptr;
  print_row("io_uring", ring ? "yes" : "no: threads are used");
  if (!ring) advice.add("io_uring is refused here (kernel or container): allow it for fewer threads and less CPU time");
  const Bytes sample = parse_bytes(arguments.value("sample").value_or("512MiB"), "sample");
  if (sample < 8 * MiB) recipe::throw_bad_value("sample", "at least 8MiB", *arguments.value("sample"));
  std::vector<std::string> folders = recipe::split_list(arguments.value("spill-dir").value_or(""));
  if (folders.empty()) folders.push_back(fs::current_path().string());
  DiskFindings findings;
  for (const std::string& folder : folders) check_folder(folder, sample, advice, findings);
  return findings;
}

/// The engine's figures by way of a file that is gone afterwards.
void measure_compute(plan::Machine& machine, const fs::path& folder, bool use_engine, Advice& advice) {
  std::cout << "compute\n";
  print_row("cores", std::to_string(machine.num_threads));
  machine.update_memory = tier::measure_memory_copy(machine.num_threads);
  machine.compute.memory = machine.update_memory;
  print_row("memory", rate_text(machine.update_memory, "GB/s copied"));
  if (!use_engine) {
    print_row("matrix products", "not measured");
    return;
  }
  if (!engine_is_installed()) {
    advice.add("this build has no engine: matrix rates are estimates; build with SLUICE_TORCH=ON");
    return;
  }
  recipe::Settings settings;
  settings.threads = machine.num_threads;
  if (!folder.empty()) settings.spill_dir = {folder.string()};
  const fs::path file = fs::temp_directory_path() / ("sluice-doctor-" + std::to_string(getpid()) + ".json");
  settings.json = file.string();
  const int code = run_in_engine("doctor", settings);
  if (code != 0) {
    advice.add("the engine could not measure (see its message): matrix rates are estimates");
    return;
  }
  const recipe::ComputeMeasurement measured = recipe::read_compute_measurement(file);
  std::error_code ignored;
  fs::remove(file, ignored);
  machine.compute = measured.compute;
  machine.contention = measured.contention;
  machine.update_memory = measured.update_memory;
  machine.norm_memory = measured.norm_memory;
  machine.process_overhead = measured.process_overhead;
  print_row("matrix products", rate_text(measured.compute.matmul, "GFLOP/s"));
  print_row("  of bf16 numbers",
            rate_text(measured.compute.narrow_matmul, "GFLOP/s") +
                (tier::has_bf16_products() ? "" : ": this processor has no instructions for them"));
  print_row("attention", rate_text(measured.compute.attention, "GFLOP/s"));
  print_row("element-wise", rate_text(measured.compute.memory, "GB/s"));
  print_row("updates", rate_text(measured.update_memory, "GB/s"));
  print_row("gradient norm", rate_text(measured.norm_memory, "GB/s"));
  if (!folder.empty()) {
    print_row("beside a busy disk", percent_text(measured.contention.compute_beside_both) + " of the speed alone");
    print_row("the disk beside it", percent_text(measured.contention.read_beside_compute) + " reading, " +
                                        percent_text(measured.contention.write_beside_compute) + " writing");
  }
  print_row("the process itself", format_bytes(measured.process_overhead));
}

void measure_network(plan::Network& network) {
  std::cout << "network\n";
  const collective::LoopbackRates rates = collective::measure_loopback();
  network.within_node = {rates.rate, rates.latency};
  print_row("loopback", rate_text(rates.rate, "GB/s each way, ") + format_seconds(rates.latency) + " a message");
  print_row("to other machines", rate_text(network.between_nodes.rate, "GB/s: not measured, write it into the file"));
}

std::string host_name() {
  std::array<char, 256> text = {};
  return gethostname(text.data(), text.size() - 1) == 0 ? text.data() : "this-machine";
}

}  // namespace

std::vector<FlagSpec> doctor_flags() {
  return {
      {.name = "spill-dir",
       .argument = "DIR[,DIR]",
       .help = "folders whose disks are measured",
       .default_text = "the current folder"},
      {.name = "sample", .argument = "SIZE", .help = "bytes to write and read per disk", .default_text = "512MiB"},
      {.name = "threads", .argument = "N", .help = "compute threads", .default_text = "physical cores"},
      {.name = "no-compute", .help = "do not start the engine: matrix rates are estimates"},
      {.name = "output",
       .argument = "FILE",
       .help = "the machine file to write",
       .default_text = "$SLUICE_MACHINE or ~/.config/sluice/machine.json"},
  };
}

int run_doctor(const Arguments& arguments) {
  Advice advice;
  const auto threads = arguments.value("threads");
  const int num_threads =
      threads ? static_cast<int>(recipe::parse_integer(*threads, "threads", {1, 4096})) : tier::physical_cores();
  const Bytes memory = check_memory(advice);
  const DiskFindings disk = check_disks(arguments, advice);
  plan::Machine machine = recipe::default_cpu_machine(num_threads);
  machine.name = host_name();
  machine.tiers[1].capacity = std::max<Bytes>(disk.capacity, 0);
  if (!disk.measured_folder.empty()) {
    plan::Tier& host = machine.tiers[0];
    host.down = disk.rates.write;
    host.up = disk.rates.read;
    host.down_both = disk.rates.mixed_write;
    host.up_both = disk.rates.mixed_read;
    host.latency = disk.rates.latency;
  }
  measure_compute(machine, disk.measured_folder, !arguments.has("no-compute"), advice);
  measure_network(machine.network);
  machine.tiers[0].capacity = std::max<Bytes>(memory - memory / 10 - machine.process_overhead, 0);
  const fs::path file = arguments.value("output").value_or(recipe::machine_file_path().string());
  recipe::write_machine_file(file, machine);
  advice.print();
  log_info("wrote " + file.string());
  return 0;
}

}  // namespace sluice::cli
