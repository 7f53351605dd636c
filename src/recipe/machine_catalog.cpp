// Shipped machines, one row each: a card in a computer that people have it in. Figures are what makers publish, not
// checked one by one against their data sheets; those of cards are dense rates with 32-bit accumulation, which consumer
// cards do at half the rate that is advertised.
#include <array>

#include "recipe/machine_file.h"

namespace sluice::recipe {
namespace {

constexpr Bytes kGB = 1'000'000'000;
constexpr double kG = 1e9;
constexpr double kT = 1e12;

// One direction, as programs get it of 15.75, 31.5 and 63 GB/s.
constexpr BytesPerSecond kPcie3 = 12.5 * kG, kPcie4 = 25 * kG, kPcie5 = 50 * kG;
constexpr BytesPerSecond kPcie4x8 = kPcie4 / 2;
constexpr BytesPerSecond kGigabit = 0.125 * kG, kTenGigabit = 1.25 * kG;

// Intel i5-1135G7: 4 cores, AVX2 at about 3 GHz (32 FLOP a cycle), two channels of DDR4-3200 (51.2 GB/s); a PCIe 3.0 x4
// NVMe disk (3.5 and 2 GB/s).
constexpr HostFigures kLaptop = {.memory = 8 * GiB,
                                 .num_cores = 4,
                                 .core_flops = 96 * kG,
                                 .bandwidth = 51.2 * kG,
                                 .disk = 256 * kGB,
                                 .disk_read = 3.5 * kG,
                                 .disk_write = 2 * kG,
                                 .network = kGigabit};
// AMD Ryzen 7 5700X: 8 cores, AVX2 at about 4 GHz; two channels of DDR4-3200; PCIe 4.0 x4 NVMe.
constexpr HostFigures kDesktop = {.memory = 32 * GiB,
                                  .num_cores = 8,
                                  .core_flops = 128 * kG,
                                  .bandwidth = 51.2 * kG,
                                  .disk = 1000 * kGB,
                                  .disk_read = 7 * kG,
                                  .disk_write = 5 * kG,
                                  .network = kGigabit};
// AMD Ryzen 9 7950X: 16 cores; two channels of DDR5-5600 (89.6 GB/s); PCIe 4.0 x4 NVMe.
constexpr HostFigures kWorkstation = {.memory = 128 * GiB,
                                      .num_cores = 16,
                                      .core_flops = 140 * kG,
                                      .bandwidth = 89.6 * kG,
                                      .disk = 2000 * kGB,
                                      .disk_read = 7 * kG,
                                      .disk_write = 5 * kG,
                                      .network = kTenGigabit};
// A quarter of a server of four cards: two EPYC 7763 with eight channels of DDR4-3200 each, 1 TB RAM, 100 Gb/s.
constexpr HostFigures kServer = {.memory = 256 * GiB,
                                 .num_cores = 32,
                                 .core_flops = 90 * kG,
                                 .bandwidth = 102.4 * kG,
                                 .disk = 3840 * kGB,
                                 .disk_read = 7 * kG,
                                 .disk_write = 4 * kG,
                                 .network = 3.125 * kG};
// An eighth of a DGX-1 with V100: two Xeon E5-2698 v4 with four channels of DDR4-2133 each, 512 GB RAM, four SATA
// disks, four 100 Gb/s ports.
constexpr HostFigures kDgx1 = {.memory = 64 * GiB,
                               .num_cores = 5,
                               .core_flops = 70 * kG,
                               .bandwidth = 17.1 * kG,
                               .disk = 960 * kGB,
                               .disk_read = 0.27 * kG,
                               .disk_write = 0.25 * kG,
                               .network = 6.25 * kG};
// An eighth of a DGX A100: two EPYC 7742 with eight channels of DDR4-3200 each, 1 or 2 TB RAM, 15 or 30 TB NVMe, eight
// 200 Gb/s ports.
constexpr HostFigures dgx_a100(Bytes memory, Bytes disk) {
  return {.memory = memory,
          .num_cores = 16,
          .core_flops = 90 * kG,
          .bandwidth = 51.2 * kG,
          .disk = disk,
          .disk_read = 7 * kG,
          .disk_write = 4 * kG,
          .network = 25 * kG};
}
// An eighth of a DGX H100 or H200: two Xeon 8480C with eight channels of DDR5-4800 each, 2 TB RAM, 30 TB NVMe, eight
// 400 Gb/s ports.
constexpr HostFigures kDgxH100 = {.memory = 256 * GiB,
                                  .num_cores = 14,
                                  .core_flops = 150 * kG,
                                  .bandwidth = 76.8 * kG,
                                  .disk = 3840 * kGB,
                                  .disk_read = 7 * kG,
                                  .disk_write = 4 * kG,
                                  .network = 50 * kG};

constexpr CardFigures card(Bytes memory, double gigabytes, double fp32, double tf32, double half, BytesPerSecond link,
                           double peers = 0) {
  return {memory, gigabytes * kG, fp32 * kT, tf32 * kT, half * kT, link, peers * kG};
}

}  // namespace

std::span<const MachineRow> machine_catalog() {
  // card(memory, GB/s, TFLOP/s in fp32, tf32, 16 bits, link to the host, GB/s to other cards)
  static constexpr auto kRows = std::to_array<MachineRow>({
      {"laptop-8gb", "4-core laptop, 8 GB RAM, PCIe 3 NVMe", {{}, kLaptop}},
      {"desktop-32gb", "8-core desktop, 32 GB RAM, PCIe 4 NVMe", {{}, kDesktop}},
      // NVIDIA Turing whitepaper (TU102, TU106 by clock and SMs): no TF32; GeForce halves fp16 with fp32 accumulation.
      {"rtx-2060-6gb", "RTX 2060 6 GB in the desktop", {card(6 * GiB, 336, 6.45, 0, 25.8, kPcie3), kDesktop}},
      {"rtx-2080ti-11gb", "RTX 2080 Ti 11 GB in the desktop", {card(11 * GiB, 616, 13.4, 0, 53.8, kPcie3), kDesktop}},
      // NVIDIA Ampere GA102 whitepaper, tables 2 and 9; RTX 3060 by clock and SMs.
      {"rtx-3060-12gb", "RTX 3060 12 GB in the desktop", {card(12 * GiB, 360, 12.7, 12.7, 25.5, kPcie4), kDesktop}},
      {"rtx-3080-10gb", "RTX 3080 10 GB in the desktop", {card(10 * GiB, 760, 29.8, 29.8, 59.5, kPcie4), kDesktop}},
      {"rtx-3090-24gb",
       "RTX 3090 24 GB, 16 cores, 128 GB RAM",
       {card(24 * GiB, 936, 35.6, 35.6, 71, kPcie4), kWorkstation}},
      // NVIDIA Ada whitepaper, table 2 and appendix.
      {"rtx-4060ti-16gb",
       "RTX 4060 Ti 16 GB in the desktop",
       {card(16 * GiB, 288, 22.1, 22.1, 44.1, kPcie4x8), kDesktop}},
      {"rtx-4080-16gb", "RTX 4080 16 GB in the desktop", {card(16 * GiB, 716.8, 48.7, 48.7, 97.5, kPcie4), kDesktop}},
      {"rtx-4090-24gb",
       "RTX 4090 24 GB, 16 cores, 128 GB RAM",
       {card(24 * GiB, 1008, 82.6, 82.6, 165.2, kPcie4), kWorkstation}},
      // NVIDIA RTX Blackwell whitepaper, table 3.
      {"rtx-5090-32gb",
       "RTX 5090 32 GB, 16 cores, 128 GB RAM",
       {card(32 * GiB, 1792, 104.8, 104.8, 209.5, kPcie5), kWorkstation}},
      // NVIDIA's data sheets of T4, A10, L4, RTX A6000 and L40S (those with sparsity halved).
      {"t4-16gb", "T4 16 GB, a quarter of a server", {card(16 * GiB, 320, 8.1, 0, 65, kPcie3), kServer}},
      {"a10-24gb", "A10 24 GB, a quarter of a server", {card(24 * GiB, 600, 31.2, 62.5, 125, kPcie4), kServer}},
      {"l4-24gb", "L4 24 GB, a quarter of a server", {card(24 * GiB, 300, 30.3, 60, 121, kPcie4), kServer}},
      {"a6000-48gb",
       "RTX A6000 48 GB, a quarter of a server",
       {card(48 * GiB, 768, 38.7, 77.4, 154.8, kPcie4), kServer}},
      {"l40s-48gb", "L40S 48 GB, a quarter of a server", {card(48 * GiB, 864, 91.6, 183, 362, kPcie4), kServer}},
      // NVIDIA's data sheets of V100, A100, H100 and H200 SXM (those with sparsity halved); NVLink 2 to 4, one
      // direction.
      {"v100-32gb", "V100 SXM2 32 GB, an eighth of a DGX-1", {card(32 * GiB, 900, 15.7, 0, 125, kPcie3, 150), kDgx1}},
      {"a100-40gb",
       "A100 SXM 40 GB, an eighth of a DGX A100",
       {card(40 * GiB, 1555, 19.5, 156, 312, kPcie4, 300), dgx_a100(128 * GiB, 1920 * kGB)}},
      {"a100-80gb",
       "A100 SXM 80 GB, an eighth of a DGX A100",
       {card(80 * GiB, 2039, 19.5, 156, 312, kPcie4, 300), dgx_a100(256 * GiB, 3840 * kGB)}},
      {"h100-80gb",
       "H100 SXM 80 GB, an eighth of a DGX H100",
       {card(80 * GiB, 3350, 67, 494.7, 989.4, kPcie5, 450), kDgxH100}},
      {"h200-141gb",
       "H200 SXM 141 GB, an eighth of a DGX H200",
       {card(141 * kGB, 4800, 67, 494.7, 989.4, kPcie5, 450), kDgxH100}},
      // NVIDIA DGX B200 data sheet (an eighth, sparsity halved): of the 192 GB on the package 180 GB are for programs.
      {"b200-180gb",
       "B200 SXM 180 GB, an eighth of a DGX B200",
       {card(180 * kGB, 8000, 75, 1125, 2250, kPcie5, 900), kDgxH100}},
      // AMD Instinct MI300X data sheet: matrix rates; seven links of 64 GB/s, one direction.
      {"mi300x-192gb",
       "MI300X 192 GB, an eighth of a server like a DGX H100",
       {card(192 * GiB, 5300, 163.4, 653.7, 1307.4, kPcie5, 448), kDgxH100}},
  });
  return kRows;
}

}  // namespace sluice::recipe
