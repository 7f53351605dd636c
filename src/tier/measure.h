// Sustained rates of this machine for `sluice doctor`: through the real store, so what it says is what training gets.
#pragma once
#include <filesystem>
#include <functional>
#include <string>

#include "base/units.h"

namespace sluice::tier {

struct DiskRates {
  BytesPerSecond write = 0;
  BytesPerSecond read = 0;
  BytesPerSecond mixed_write = 0;  ///< while reading at the same time
  BytesPerSecond mixed_read = 0;   ///< while writing at the same time
  Seconds latency = 0;             ///< of one transfer, whatever its size
  std::string engine;              ///< "io_uring" or "threads"
  /// How often `beside` ran per second while the disk was written, read, or both; 0 without it.
  double beside_write = 0, beside_read = 0, beside_both = 0;
};

/// Writes, reads, then does both at once on two channels; about `bytes` (>= 8 MiB) each time, in a store in `folder`
/// that is gone afterwards. Needs 2 x `bytes` of free space and writes about 4 x `bytes`. `beside`, a computation of
/// milliseconds, runs on the calling thread over and over while the disk is timed. Throws as make_disk_store does.
DiskRates measure_disk(const std::filesystem::path& folder, Bytes bytes = 512 * MiB,
                       const std::function<void()>& beside = {});

/// Bytes copied per second (each read once and written once) by `num_threads` threads over buffers of `bytes` in all.
BytesPerSecond measure_memory_copy(int num_threads, Bytes bytes = 128 * MiB);

}  // namespace sluice::tier
