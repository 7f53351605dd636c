// Machines as text: the file that `sluice doctor` writes and a user may write by hand, and the table of shipped
// machines, so that `plan` can look at hardware that nobody here owns.
#pragma once
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/catalog.h"
#include "plan/machine.h"

namespace sluice::recipe {

/// Published figures of a machine, from which its rates follow by fixed shares (machine_catalog.cpp). Zero
/// device_bytes: a CPU machine.
struct MachineFigures {
  Bytes device_bytes = 0;
  Flops device_flops = 0;  ///< dense 16-bit matrix products with 32-bit accumulation
  BytesPerSecond device_bandwidth = 0;
  BytesPerSecond link_bandwidth = 0;  ///< host to device, one direction
  Bytes host_bytes = 0;
  int num_cores = 1;
  Flops core_flops = 0;  ///< fp32, one core
  BytesPerSecond host_bandwidth = 0;
  Bytes disk_bytes = 0;
  BytesPerSecond disk_read = 0;
  BytesPerSecond disk_write = 0;
};

using MachineRow = CatalogRow<MachineFigures>;

/// All shipped machines, as `sluice list machines` prints them.
std::span<const MachineRow> machine_catalog();

plan::Machine make_machine(std::string_view name, const MachineFigures& figures);

/// A CPU machine with cautious rates for where nothing was measured: {Host, Disk}. Whoever knows better replaces
/// capacities and threads.
plan::Machine default_cpu_machine(int num_threads = 2, Bytes host_capacity = 4 * GiB, Bytes disk_capacity = 64 * GiB);

/// JSON text of a machine; `machine_from_json(machine_to_json(m))` has equal fields. Sizes may also be written as
/// "24GiB". Throws ConfigError naming the key that is missing, unknown or out of range.
std::string machine_to_json(const plan::Machine& machine);
plan::Machine machine_from_json(std::string_view text, std::string_view origin);

/// Durable and atomic; makes the folder.
void write_machine_file(const std::filesystem::path& path, const plan::Machine& machine);
plan::Machine read_machine_file(const std::filesystem::path& path);

/// A shipped machine's name, or a path to a file. Throws ConfigError listing the names when it is neither.
plan::Machine machine_by_name_or_file(std::string_view text);

/// Where doctor writes: $SLUICE_MACHINE, else sluice/machine.json in $XDG_CONFIG_HOME or ~/.config.
std::filesystem::path machine_file_path();

/// What doctor wrote for this machine if there is such a file, else `default_cpu_machine()`.
plan::Machine this_machine();

/// What only the engine can measure.
struct ComputeMeasurement {
  plan::ComputeRate compute;
  plan::Contention contention = {};
  BytesPerSecond update_memory = 0, norm_memory = 0;
  Bytes process_overhead = 0;
};

void write_compute_measurement(const std::filesystem::path& path, const ComputeMeasurement& measurement);
ComputeMeasurement read_compute_measurement(const std::filesystem::path& path);

}  // namespace sluice::recipe
