// Sustained rates of this machine for `sluice doctor`: through the real store, so what it says is what training gets.
#pragma once
#include <filesystem>
#include <string>

#include "base/units.h"

namespace sluice::tier {

struct DiskRates {
  BytesPerSecond write = 0;
  BytesPerSecond read = 0;
  BytesPerSecond mixed_write = 0;  ///< while reading at the same time
  BytesPerSecond mixed_read = 0;   ///< while writing at the same time
  std::string engine;              ///< "io_uring" or "threads"
};

/// Writes, reads, then does both at once on two channels; `bytes` (>= 8 MiB) each time, in a store in `folder` that is
/// gone afterwards. Needs 2 x `bytes` of free space and writes 4 x `bytes`. Throws as make_disk_store does.
DiskRates measure_disk(const std::filesystem::path& folder, Bytes bytes = 512 * MiB);

/// Bytes copied per second (each read once and written once) by `num_threads` threads over buffers of `bytes` in all.
BytesPerSecond measure_memory_copy(int num_threads, Bytes bytes = 128 * MiB);

}  // namespace sluice::tier
