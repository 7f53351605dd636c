// One run per output folder: two would overwrite each other's checkpoints.
#pragma once
#include <filesystem>

#include "base/file.h"

namespace sluice::checkpoint {

/// Holds an exclusive lock (flock) on a folder while it lives; the kernel drops it when the process dies, however it
/// does. Leaves no file behind.
class FolderLock {
 public:
  /// Creates the folder if need be. Throws ConfigError when another process holds the lock, IoError when the folder
  /// cannot be opened. A file system without locks gets a warning and no lock.
  explicit FolderLock(const std::filesystem::path& folder);

 private:
  FileDescriptor fd_;
};

}  // namespace sluice::checkpoint
