#include "tier/spill_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <string>

#include "base/error.h"
#include "base/fail_point.h"
#include "base/log.h"
#include "tier/store.h"

namespace sluice::tier {
namespace {

constexpr std::string_view kComponent = "tier.disk";

// A file that never had a name where the file system can do that; else a name that is removed at once.
int open_nameless(const std::filesystem::path& folder, int extra_flags) {
  const int flags = O_RDWR | O_CLOEXEC | extra_flags;
  const int fd = ::open(folder.c_str(), flags | O_TMPFILE | O_EXCL, 0600);
  if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return fd;
  static std::atomic<int> counter{0};
  const auto name = folder / ("sluice-spill-" + std::to_string(::getpid()) + "-" + std::to_string(counter++));
  const int named = ::open(name.c_str(), flags | O_CREAT | O_EXCL, 0600);
  if (named >= 0) ::unlink(name.c_str());
  return named;
}

}  // namespace

SpillFile::SpillFile(std::filesystem::path folder) : folder_(std::move(folder)) {
  if (!std::filesystem::is_directory(folder_))
    throw IoError(kComponent, "spill folder cannot be used", folder_.string() + " is not a folder",
                  "create it or name another one with --spill-dir");
  open();
  struct statfs status {};
  if (::fstatfs(fd(), &status) == 0 && status.f_type == TMPFS_MAGIC)
    log_warning("spill folder " + folder_.string() + " lives in memory (tmpfs): spilling to it frees no memory");
}

void SpillFile::open() {
  int error = try_open(O_DIRECT);
  if (error == EINVAL || error == ENOSYS || error == EOPNOTSUPP) {
    direct_ = false;
    error = try_open(0);
    if (error == 0)
      log_warning("no direct I/O in spill folder " + folder_.string() + ": going through the page cache, slower");
  }
  if (error != 0)
    throw_errno(kComponent, "using spill folder", folder_.string(), error,
                "name a writable folder with free space with --spill-dir");
}

// 0 or the errno of opening and of a first write: some file systems take O_DIRECT and refuse the transfer.
int SpillFile::try_open(int extra_flags) {
  if (const int fail = fail_point("disk.open"); fail > 0) return fail;
  if (extra_flags != 0) {
    if (const int fail = fail_point("disk.direct"); fail > 0) return fail;
  }
  fd_ = FileDescriptor(open_nameless(folder_, extra_flags));
  return fd_.valid() ? probe() : errno;
}

int SpillFile::probe() const {
  alignas(kStoreAlignment) static constexpr std::array<std::byte, kStoreAlignment> kPage{};
  ssize_t written = 0;
  do {
    written = ::pwrite(fd(), kPage.data(), kPage.size(), 0);
  } while (written < 0 && errno == EINTR);
  if (written < 0) return errno;
  if (written != static_cast<ssize_t>(kPage.size())) return ENOSPC;
  return ::ftruncate(fd(), 0) == 0 ? 0 : errno;
}

bool SpillFile::grow(Bytes size) {
  if (size <= size_) return true;
  int error = fail_point("disk.reserve");
  if (error <= 0) {
    do {
      error = ::fallocate(fd(), 0, size_, size - size_) == 0 ? 0 : errno;
    } while (error == EINTR);
  }
  if (error == EOPNOTSUPP || error == ENOSYS) {
    error = ::ftruncate(fd(), size) == 0 ? 0 : errno;
    if (error == 0 && !warned_about_allocation_)
      log_warning("space in " + folder_.string() + " cannot be reserved: a full disk would show only while training");
    warned_about_allocation_ = true;
  }
  if (error == 0) {
    size_ = size;
    return true;
  }
  shrink(size_);
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) return false;
  throw_errno(kComponent, "reserving " + format_bytes(size - size_), "spill folder " + folder_.string(), error,
              "name another folder with --spill-dir");
}

void SpillFile::shrink(Bytes size) {
  if (::ftruncate(fd(), size) != 0)
    log_warning("giving back space in " + folder_.string() + " failed; it is free when the program ends");
  size_ = size;
}

void SpillFile::forget(Bytes offset, Bytes length) const {
  ::sync_file_range(fd(), offset, length,
                    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
  ::posix_fadvise(fd(), offset, length, POSIX_FADV_DONTNEED);
}

}  // namespace sluice::tier
