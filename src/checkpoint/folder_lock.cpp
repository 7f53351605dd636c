#include "checkpoint/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

#include "base/error.h"
#include "base/log.h"

namespace sluice::checkpoint {

FolderLock::FolderLock(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  fd_ = FileDescriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd_.valid())
    throw_errno("checkpoint", "open", folder.string(), error ? error.value() : errno, "check that it can be written");
  while (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK)
      throw ConfigError("checkpoint", "another run is using " + folder.string(),
                        "expected to be alone in it, got a lock held by another process",
                        "wait for that run or choose another --output");
    log_warning("[checkpoint] " + folder.string() + " cannot be locked; do not start a second run in it");
    return;
  }
}

}  // namespace sluice::checkpoint
