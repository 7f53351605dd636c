// Published figures of chips and buses, turned into what a program gets by fixed shares. The shares are those that
// tuned libraries reach in practice; `sluice doctor` measures the real ones.
#include <algorithm>

#include "base/formatted.h"
#include "recipe/machine_file.h"

namespace sluice::recipe {
namespace {

constexpr double kG = 1e9;
constexpr double kT = 1e12;

constexpr double kDeviceMatmulShare = 0.6;     // of the dense peak, for the matrix sizes of language models
constexpr double kDeviceAttentionShare = 0.4;  // fused attention, forward and backward together
constexpr double kCoreMatmulShare = 0.75;
constexpr double kCoreAttentionShare = 0.4;
constexpr double kBandwidthShare = 0.8;
constexpr double kHostShare = 0.9;
constexpr double kDiskSpaceShare = 0.95;
constexpr Seconds kCardMessage = 1e-5;    // between cards, in or between nodes
constexpr Bytes kCpuProcess = 160 * MiB;  // libtorch's code and heaps
constexpr Bytes kGpuProcess = 600 * MiB;  // the CUDA libraries on top

plan::Tier disk_tier(const HostFigures& host) {
  return {.kind = plan::TierKind::Disk,
          .capacity = static_cast<Bytes>(static_cast<double>(host.disk) * kDiskSpaceShare)};
}

plan::Tier host_tier(const HostFigures& host, Bytes process) {
  return {.kind = plan::TierKind::Host,
          .capacity = static_cast<Bytes>(static_cast<double>(host.memory) * kHostShare) - process,
          .down = host.disk_write * kBandwidthShare,
          .up = host.disk_read * kBandwidthShare,
          .latency = 100e-6,
          .shared_link = true};
}

// Without a link of their own, cards talk through the host: up one bus and down the other.
plan::Network card_network(const MachineFigures& figures) {
  const BytesPerSecond peers = figures.card.peers > 0 ? figures.card.peers * kBandwidthShare : figures.card.link / 2;
  return {.within_node = {peers, kCardMessage},
          .between_nodes = {figures.host.network * kBandwidthShare, kCardMessage}};
}

void add_device(plan::Machine& machine, const MachineFigures& figures) {
  const CardFigures& card = figures.card;
  const Flops products = card.tf32 > 0 ? card.tf32 : card.fp32;
  const Flops narrow = card.tf32 > 0 ? card.half : 0;  // cards before TF32 have fp16 units and none for bf16
  machine.tiers.push_back({.kind = plan::TierKind::Device,
                           .capacity = card.memory - plan::kDeviceReserve,
                           .reserved = plan::kDeviceReserve,
                           .down = card.link,
                           .up = card.link,
                           .latency = 10e-6});
  machine.compute = {.matmul = products * kDeviceMatmulShare,
                     .attention = products * kDeviceAttentionShare,
                     .memory = card.bandwidth * kBandwidthShare,
                     .launch = 5e-6,
                     .narrow_matmul = narrow * kDeviceMatmulShare};
  machine.update_tier = 1;
  machine.network = card_network(figures);
}

}  // namespace

plan::Machine make_machine(std::string_view name, const MachineFigures& figures) {
  const HostFigures& host = figures.host;
  const bool has_device = figures.card.memory > 0;
  plan::Machine machine;
  machine.name = name;
  machine.num_threads = host.num_cores;
  machine.process_overhead = has_device ? kGpuProcess : kCpuProcess;
  machine.update_memory = host.bandwidth * kBandwidthShare;
  if (has_device) {
    add_device(machine, figures);
  } else {
    const Flops peak = host.core_flops * host.num_cores;
    machine.compute = {.matmul = peak * kCoreMatmulShare,
                       .attention = peak * kCoreAttentionShare,
                       .memory = host.bandwidth * kBandwidthShare,
                       .launch = 10e-6};
    if (host.network > 0) machine.network.between_nodes.rate = host.network * kBandwidthShare;
  }
  machine.tiers.push_back(host_tier(host, machine.process_overhead));
  machine.tiers.push_back(disk_tier(host));
  return machine;
}

void take_rate_share(plan::Machine& machine, double of_cores, double of_links) {
  const auto scale = [](double share, auto&... rates) { ((rates *= share), ...); };
  for (plan::Tier& tier : machine.tiers) scale(of_links, tier.down, tier.up, tier.down_both, tier.up_both);
  plan::ComputeRate& compute = machine.compute;
  scale(of_cores, compute.matmul, compute.narrow_matmul, compute.attention, compute.memory, machine.update_memory,
        machine.norm_memory);
  for (auto* curve :
       {&compute.products, &compute.narrow_products, &compute.attention_forward, &compute.attention_backward})
    for (plan::ShapeRate& point : *curve) scale(of_cores, point.rate);
  for (plan::SizeRate& point : compute.memory_by_size) scale(of_cores, point.rate);
}

void take_rank_share(plan::Machine& machine, int ranks_per_node) {
  machine.network.ranks_per_node = ranks_per_node;
  if (machine.tiers[0].kind == plan::TierKind::Device || ranks_per_node == 1) return;
  machine.tiers[0].capacity += machine.process_overhead;  // of each rank, too
  for (plan::Tier& tier : machine.tiers) tier.capacity /= ranks_per_node;
  machine.tiers[0].capacity = std::max<Bytes>(machine.tiers[0].capacity - machine.process_overhead, 0);
  take_rate_share(machine, 1.0 / ranks_per_node, 1.0 / ranks_per_node);
  machine.num_threads = std::max(1, machine.num_threads / ranks_per_node);
}

plan::Machine default_cpu_machine(int num_threads, Bytes host_capacity, Bytes disk_capacity) {
  // A core with AVX2 at 2.5 GHz, one channel of DDR4 for two of them, a SATA-class disk.
  plan::Machine machine = make_machine("default-cpu", {.card = {},
                                                       .host = {.memory = host_capacity,
                                                                .num_cores = num_threads,
                                                                .core_flops = 80 * kG,
                                                                .bandwidth = 20 * kG,
                                                                .disk = disk_capacity,
                                                                .disk_read = 0.6 * kG,
                                                                .disk_write = 0.5 * kG}});
  machine.tiers[0].capacity = host_capacity;
  machine.tiers[1].capacity = disk_capacity;
  return machine;
}

std::string describe_figures(const MachineFigures& figures) {
  const CardFigures& card = figures.card;
  const HostFigures& host = figures.host;
  std::string text;
  if (card.memory > 0) {
    text += format_bytes(card.memory) + formatted(" at %.0f GB/s; %.3g fp32", card.bandwidth / kG, card.fp32 / kT);
    if (card.tf32 > 0) text += formatted(", %.4g tf32", card.tf32 / kT);
    text += formatted(", %.4g 16-bit TFLOP/s; %.3g GB/s to the host", card.half / kT, card.link / kG);
    if (card.peers > 0) text += formatted(", %.3g to other cards", card.peers / kG);
    text += "; ";
  }
  return text + formatted("%d cores, ", host.num_cores) + format_bytes(host.memory) +
         formatted(" at %.3g GB/s, disk %.3g/%.3g GB/s, network %.3g GB/s", host.bandwidth / kG, host.disk_read / kG,
                   host.disk_write / kG, host.network / kG);
}

}  // namespace sluice::recipe
