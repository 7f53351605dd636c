// Shipped machines: published figures of chips and buses, turned into what a program gets by fixed shares. The shares
// are those that tuned libraries reach in practice; `sluice doctor` measures the real ones.
#include <array>

#include "recipe/machine_file.h"

namespace sluice::recipe {
namespace {

constexpr Bytes kGB = 1'000'000'000;
constexpr double kG = 1e9;
constexpr double kT = 1e12;

constexpr double kDeviceMatmulShare = 0.6;     // of the dense tensor peak, for the matrix sizes of language models
constexpr double kDeviceAttentionShare = 0.4;  // fused attention, forward and backward together
constexpr double kCoreMatmulShare = 0.75;
constexpr double kCoreAttentionShare = 0.4;
constexpr double kBandwidthShare = 0.8;
constexpr double kHostShare = 0.9;
constexpr double kDiskSpaceShare = 0.95;
constexpr Bytes kDeviceContext = 700 * MiB;  // CUDA context and library workspaces
constexpr Bytes kCpuProcess = 160 * MiB;     // libtorch's code and heaps
constexpr Bytes kGpuProcess = 600 * MiB;     // the CUDA libraries on top

plan::Tier disk_tier(const MachineFigures& figures) {
  return {.kind = plan::TierKind::Disk,
          .capacity = static_cast<Bytes>(static_cast<double>(figures.disk_bytes) * kDiskSpaceShare)};
}

plan::Tier host_tier(const MachineFigures& figures, Bytes process) {
  return {.kind = plan::TierKind::Host,
          .capacity = static_cast<Bytes>(static_cast<double>(figures.host_bytes) * kHostShare) - process,
          .down = figures.disk_write * kBandwidthShare,
          .up = figures.disk_read * kBandwidthShare,
          .latency = 100e-6,
          .shared_link = true};
}

}  // namespace

std::span<const MachineRow> machine_catalog() {
  static constexpr std::array<MachineRow, 7> kRows = {{
      // Intel ARK i5-1135G7: 4 cores, AVX2 at about 3 GHz (32 FLOP a cycle), two channels of DDR4-3200 (51.2 GB/s);
      // a PCIe 3.0 x4 NVMe disk (3.5 and 2 GB/s).
      {"laptop-8gb",
       "4-core laptop, 8 GB RAM, PCIe 3 NVMe",
       {.host_bytes = 8 * GiB,
        .num_cores = 4,
        .core_flops = 96 * kG,
        .host_bandwidth = 51.2 * kG,
        .disk_bytes = 256 * kGB,
        .disk_read = 3.5 * kG,
        .disk_write = 2 * kG}},
      // AMD Ryzen 7 5700X: 8 cores, AVX2 at about 4 GHz; two channels of DDR4-3200; PCIe 4.0 x4 NVMe.
      {"desktop-32gb",
       "8-core desktop, 32 GB RAM, PCIe 4 NVMe",
       {.host_bytes = 32 * GiB,
        .num_cores = 8,
        .core_flops = 128 * kG,
        .host_bandwidth = 51.2 * kG,
        .disk_bytes = 1000 * kGB,
        .disk_read = 7 * kG,
        .disk_write = 5 * kG}},
      // GeForce RTX 3060: 12 GB, 360 GB/s; 12.7 TFLOP/s fp32, tensor cores at twice that with fp32 accumulation (NVIDIA
      // Ampere GA102 whitepaper, table 2, scaled by SMs and clock); PCIe 4.0 x16 moves about 25 GB/s.
      {"rtx-3060-12gb",
       "RTX 3060 12 GB, 8 cores, 32 GB RAM, PCIe 4 NVMe",
       {.device_bytes = 12 * GiB,
        .device_flops = 25.5 * kT,
        .device_bandwidth = 360 * kG,
        .link_bandwidth = 25 * kG,
        .host_bytes = 32 * GiB,
        .num_cores = 8,
        .core_flops = 128 * kG,
        .host_bandwidth = 51.2 * kG,
        .disk_bytes = 1000 * kGB,
        .disk_read = 7 * kG,
        .disk_write = 5 * kG}},
      // GeForce RTX 4090: 24 GB, 1008 GB/s, 165.2 TFLOP/s fp16 with fp32 accumulation (NVIDIA Ada whitepaper, table 2);
      // two channels of DDR5-5600 (89.6 GB/s).
      {"rtx-4090-24gb",
       "RTX 4090 24 GB, 16 cores, 128 GB RAM, PCIe 4 NVMe",
       {.device_bytes = 24 * GiB,
        .device_flops = 165.2 * kT,
        .device_bandwidth = 1008 * kG,
        .link_bandwidth = 25 * kG,
        .host_bytes = 128 * GiB,
        .num_cores = 16,
        .core_flops = 140 * kG,
        .host_bandwidth = 89.6 * kG,
        .disk_bytes = 2000 * kGB,
        .disk_read = 7 * kG,
        .disk_write = 5 * kG}},
      // A100 80GB SXM datasheet: 312 TFLOP/s bf16, 2039 GB/s, PCIe 4.0; an eighth of a DGX A100 (2 TB RAM, two EPYC
      // 7742
      // with eight channels of DDR4-3200 each, 30 TB NVMe).
      {"a100-80gb",
       "A100 SXM 80 GB, an eighth of a DGX A100",
       {.device_bytes = 80 * GiB,
        .device_flops = 312 * kT,
        .device_bandwidth = 2039 * kG,
        .link_bandwidth = 25 * kG,
        .host_bytes = 256 * GiB,
        .num_cores = 16,
        .core_flops = 90 * kG,
        .host_bandwidth = 51.2 * kG,
        .disk_bytes = 3840 * kGB,
        .disk_read = 7 * kG,
        .disk_write = 4 * kG}},
      // H100 SXM datasheet: 989.4 TFLOP/s bf16 dense, 3.35 TB/s, PCIe 5.0 (about 50 GB/s); an eighth of a DGX H100
      // (2 TB RAM, two Xeon 8480C with eight channels of DDR5-4800 each, 30 TB NVMe).
      {"h100-80gb",
       "H100 SXM 80 GB, an eighth of a DGX H100",
       {.device_bytes = 80 * GiB,
        .device_flops = 989.4 * kT,
        .device_bandwidth = 3350 * kG,
        .link_bandwidth = 50 * kG,
        .host_bytes = 256 * GiB,
        .num_cores = 14,
        .core_flops = 150 * kG,
        .host_bandwidth = 76.8 * kG,
        .disk_bytes = 3840 * kGB,
        .disk_read = 7 * kG,
        .disk_write = 4 * kG}},
      // H200 SXM datasheet: as H100 with 141 GB at 4.8 TB/s.
      {"h200-141gb",
       "H200 SXM 141 GB, an eighth of a DGX H200",
       {.device_bytes = 141 * kGB,
        .device_flops = 989.4 * kT,
        .device_bandwidth = 4800 * kG,
        .link_bandwidth = 50 * kG,
        .host_bytes = 256 * GiB,
        .num_cores = 14,
        .core_flops = 150 * kG,
        .host_bandwidth = 76.8 * kG,
        .disk_bytes = 3840 * kGB,
        .disk_read = 7 * kG,
        .disk_write = 4 * kG}},
  }};
  return kRows;
}

plan::Machine make_machine(std::string_view name, const MachineFigures& figures) {
  const bool has_device = figures.device_bytes > 0;
  plan::Machine machine;
  machine.name = name;
  machine.num_threads = figures.num_cores;
  machine.process_overhead = has_device ? kGpuProcess : kCpuProcess;
  machine.update_memory = figures.host_bandwidth * kBandwidthShare;
  if (has_device) {
    machine.tiers.push_back({.kind = plan::TierKind::Device,
                             .capacity = figures.device_bytes - kDeviceContext,
                             .down = figures.link_bandwidth,
                             .up = figures.link_bandwidth,
                             .latency = 10e-6});
    machine.compute = {.matmul = figures.device_flops * kDeviceMatmulShare,
                       .attention = figures.device_flops * kDeviceAttentionShare,
                       .memory = figures.device_bandwidth * kBandwidthShare,
                       .launch = 5e-6};
    machine.update_tier = 1;
  } else {
    const Flops peak = figures.core_flops * figures.num_cores;
    machine.compute = {.matmul = peak * kCoreMatmulShare,
                       .attention = peak * kCoreAttentionShare,
                       .memory = figures.host_bandwidth * kBandwidthShare,
                       .launch = 10e-6};
  }
  machine.tiers.push_back(host_tier(figures, machine.process_overhead));
  machine.tiers.push_back(disk_tier(figures));
  return machine;
}

plan::Machine default_cpu_machine(int num_threads, Bytes host_capacity, Bytes disk_capacity) {
  // A core with AVX2 at 2.5 GHz, one channel of DDR4 for two of them, a SATA-class disk.
  plan::Machine machine = make_machine("default-cpu", {.host_bytes = host_capacity,
                                                       .num_cores = num_threads,
                                                       .core_flops = 80 * kG,
                                                       .host_bandwidth = 20 * kG,
                                                       .disk_bytes = disk_capacity,
                                                       .disk_read = 0.6 * kG,
                                                       .disk_write = 0.5 * kG});
  machine.tiers[0].capacity = host_capacity;
  machine.tiers[1].capacity = disk_capacity;
  return machine;
}

}  // namespace sluice::recipe
