// One nameless file of the disk tier: opened past the page cache, grown in reserved extents, gone when it is closed.
#pragma once
#include <filesystem>

#include "base/file.h"
#include "base/units.h"

namespace sluice::tier {

class SpillFile {
 public:
  /// Creates it in `folder` and tries one write. Throws IoError naming the folder.
  explicit SpillFile(std::filesystem::path folder);

  [[nodiscard]] const std::filesystem::path& folder() const noexcept { return folder_; }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] Bytes size() const noexcept { return size_; }
  /// False where the file system has no O_DIRECT: `forget` must follow every transfer.
  [[nodiscard]] bool direct() const noexcept { return direct_; }

  /// Makes the file `size` bytes long with all of it allocated; false when the disk or quota is full, then nothing
  /// changed. Throws IoError for everything else.
  [[nodiscard]] bool grow(Bytes size);
  void shrink(Bytes size);
  /// Writes back and drops these bytes from the page cache.
  void forget(Bytes offset, Bytes length) const;

 private:
  void open();
  [[nodiscard]] int try_open(int extra_flags);
  [[nodiscard]] int probe() const;

  std::filesystem::path folder_;
  FileDescriptor fd_;
  Bytes size_ = 0;
  bool direct_ = true;
  bool warned_about_allocation_ = false;
};

}  // namespace sluice::tier
