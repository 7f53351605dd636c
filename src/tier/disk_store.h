// The disk tier: one unlinked spill file per folder, read and written past the page cache with checksums. Objects are
// striped over the files 1 MiB at a time, so several disks add up.
#pragma once
#include <filesystem>
#include <memory>
#include <vector>

#include "tier/store.h"

namespace sluice::tier {

struct DiskOptions {
  enum class Engine { Auto, IoUring, Threads };
  std::vector<std::filesystem::path> folders = {};  ///< at least one; objects are striped over all of them
  Bytes capacity = 0;                               ///< of all together; 0: free space of the folders less 5 %
  Engine engine = Engine::Auto;  ///< io_uring where it may be set up; Auto says nothing when it may not
  int queue_depth = 8;           ///< requests in flight per channel
  Bytes request_bytes = MiB;     ///< largest single request; multiple of 4096, at most kStripeBytes
  Seconds patience = 60;         ///< a transfer that takes longer is warned of (it is waited for all the same)
};

/// Nothing stays on the disk after the process ends, however it ends. Throws ConfigError (no folder, bad sizes) and
/// IoError naming the folder (missing, not writable, full). Fail points: disk.open, disk.direct (O_DIRECT refused),
/// disk.reserve, disk.setup (of the ring), disk.read and disk.write (at submission), disk.complete_read and
/// disk.complete_write.
std::unique_ptr<Store> make_disk_store(const DiskOptions& options);

}  // namespace sluice::tier
