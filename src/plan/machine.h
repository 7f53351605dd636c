// Where a plan runs: tiers with capacities, links with rates, and how fast the compute place computes. Measured by
// `sluice doctor`, shipped for known machines, or written by hand; planner and simulator know nothing else of hardware.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/units.h"

namespace sluice::plan {

/// Places ordered from fastest to largest. A CPU run has {Host, Disk}, a GPU run {Device, Host, Disk}. Packed is RAM,
/// too: a store where weights wait in the format in which they are stored (packed_ram.h).
enum class TierKind { Device, Host, Packed, Disk };
[[nodiscard]] const char* name(TierKind kind);
/// Whether copies there are objects of a store, stored in fewer bits where a buffer says so; else they lie in an arena.
[[nodiscard]] constexpr bool is_store(TierKind kind) { return kind == TierKind::Packed || kind == TierKind::Disk; }

/// Memory of a card beside the arena: its context and what libraries keep there.
inline constexpr Bytes kDeviceReserve = 700 * MiB;

/// One place and the link to the next lower one (the last has none).
struct Tier {
  TierKind kind = TierKind::Host;
  Bytes capacity = 0;                         ///< what the plan may use (the process's own needs already taken off)
  Bytes reserved = 0;                         ///< of a card, beside that: kDeviceReserve
  BytesPerSecond down = 0;                    ///< copy or write rate to the next lower tier
  BytesPerSecond up = 0;                      ///< copy or read rate from the next lower tier
  Seconds latency = 0;                        ///< per transfer on that link
  bool shared_link = false;                   ///< up and down share one rate (a disk), or are independent (PCIe)
  BytesPerSecond down_both = 0, up_both = 0;  ///< on a shared link while both are under way; 0: half of each
};

/// A measured rate for a shape (OpCost says what m, n and k are).
struct ShapeRate {
  std::int64_t m = 1, n = 1, k = 1;
  Flops rate = 0;
};

/// A measured rate for operators that touch so many bytes.
struct SizeRate {
  Bytes bytes = 0;
  BytesPerSecond rate = 0;
};

/// Speed of the place where block math runs. The curves may be empty: then the one rate beside them holds for all.
struct ComputeRate {
  Flops matmul = 0;           ///< FLOP/s of large products of fp32 numbers
  Flops attention = 0;        ///< FLOP/s of the fused attention kernel
  BytesPerSecond memory = 0;  ///< bytes/s of element-wise operators that no cache holds
  Seconds launch = 0;         ///< fixed cost per operator
  Flops narrow_matmul = 0;    ///< FLOP/s of large products of bf16 numbers, summed in fp32; 0: as of fp32 numbers
  std::vector<ShapeRate> products = {}, narrow_products = {};
  std::vector<ShapeRate> attention_forward = {}, attention_backward = {};
  std::vector<SizeRate> memory_by_size = {};  ///< ascending sizes
};

/// Lanes share cores and memory: speed beside another lane, as a share of the speed alone, in (0, 1].
struct Contention {
  double compute_beside_read = 1, compute_beside_write = 1, compute_beside_both = 1;
  double read_beside_compute = 1, write_beside_compute = 1;
};

/// From one rank to others: it sends at `rate` while it receives as much.
struct RankLink {
  BytesPerSecond rate = 2e9;
  Seconds latency = 5e-5;  ///< of a message
};

/// What joins the ranks of a run.
struct Network {
  RankLink within_node = {};
  RankLink between_nodes = {.rate = 1.25e9};  ///< one rank's share of what its node sends while all its ranks do
  int ranks_per_node = 0;                     ///< of this run; 0: all of them are on one node
};

struct Machine {
  std::string name;
  std::vector<Tier> tiers;           ///< tier 0 is where block math runs
  ComputeRate compute;               ///< of tier 0
  Contention contention;             ///< between the compute lane and those of the disk
  BytesPerSecond update_memory = 0;  ///< bytes/s of the update kernels where updates run
  BytesPerSecond norm_memory = 0;    ///< bytes/s of the exact gradient norm; 0: as element-wise operators
  int update_tier = 0;               ///< index of the tier where updates run (1 on a GPU run with CPU updates)
  Network network = {};              ///< of a run of several ranks
  int num_threads = 1;
  Bytes process_overhead = 0;    ///< RAM of the process beside the arena (libraries, stacks, I/O buffers)
  bool emulated_device = false;  ///< the device is memory of this process: its arena is RAM, too

  /// Index of the tier of this kind; -1: there is none.
  [[nodiscard]] int tier_index(TierKind kind) const {
    for (int tier = 0; tier < static_cast<int>(tiers.size()); ++tier) {
      if (tiers[tier].kind == kind) return tier;
    }
    return -1;
  }
  /// RAM of the process when its tiers hold `bytes` each.
  [[nodiscard]] Bytes process_ram(std::span<const Bytes> bytes) const {
    Bytes total = process_overhead;
    for (std::size_t tier = 0; tier < tiers.size(); ++tier) {
      const bool in_ram = tiers[tier].kind == TierKind::Host || tiers[tier].kind == TierKind::Packed ||
                          (tiers[tier].kind == TierKind::Device && emulated_device);
      if (in_ram) total += bytes[tier];
    }
    return total;
  }
};

}  // namespace sluice::plan
