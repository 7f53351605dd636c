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

/// Published figures of an accelerator card. Rates of matrix products are dense, with 32-bit accumulation.
struct CardFigures {
  Bytes memory = 0;  ///< 0: no card
  BytesPerSecond bandwidth = 0;
  Flops fp32 = 0;
  Flops tf32 = 0;            ///< 0: it has no such mode
  Flops half = 0;            ///< bf16 or fp16
  BytesPerSecond link = 0;   ///< to the host, one direction
  BytesPerSecond peers = 0;  ///< to the other cards of its node together, one direction; 0: through the host
};

/// Published figures of the computer around it: of a node with several cards, one card's share.
struct HostFigures {
  Bytes memory = 0;
  int num_cores = 1;
  Flops core_flops = 0;  ///< fp32, one core
  BytesPerSecond bandwidth = 0;
  Bytes disk = 0;
  BytesPerSecond disk_read = 0, disk_write = 0;
  BytesPerSecond network = 0;  ///< to other nodes, one direction
};

/// What a shipped machine's rates follow from, by fixed shares (make_machine.cpp).
struct MachineFigures {
  CardFigures card = {};
  HostFigures host = {};
};

using MachineRow = CatalogRow<MachineFigures>;

/// All shipped machines, as `sluice list machines` prints them.
std::span<const MachineRow> machine_catalog();

/// {Device, Host, Disk}, or {Host, Disk} without a card. Products of fp32 numbers on a card are in TF32 where it has
/// that; those of bf16 numbers then go at its 16-bit rate.
plan::Machine make_machine(std::string_view name, const MachineFigures& figures);

/// Makes the machine one rank's of a node with `ranks_per_node` of them. What has a card is one rank's already; ranks
/// on a machine without one divide its memory, disk, cores and rates among them.
void take_rank_share(plan::Machine& machine, int ranks_per_node);

/// Makes its rates those of a process that has so much of its cores, and of the links between its tiers.
void take_rate_share(plan::Machine& machine, double of_cores, double of_links);

/// "12.00 GiB at 360 GB/s; 12.7 fp32, 25.5 16-bit TFLOP/s; 25.0 GB/s to the host; ...", for `sluice list machines`.
std::string describe_figures(const MachineFigures& figures);

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
