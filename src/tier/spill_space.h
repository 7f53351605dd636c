// Where on the disks the stripes of objects live: places in spill files, handed out for good.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tier/spill_file.h"

namespace sluice::tier {

struct StripePlace {
  std::int32_t file = 0;
  Bytes offset = 0;
};

/// Not thread-safe; `file` may be used meanwhile.
class SpillSpace {
 public:
  /// One file per folder, each of which takes at most `percent` of what is free there; folders on one file system share
  /// it. Throws ConfigError for no folder or one named twice, IoError as SpillFile does.
  SpillSpace(std::span<const std::filesystem::path> folders, int percent);

  /// What all files together may still become.
  [[nodiscard]] Bytes room() const;
  [[nodiscard]] std::size_t num_files() const { return files_.size(); }
  [[nodiscard]] const SpillFile& file(std::size_t index) const { return files_[index]; }

  /// Places of the stripes of an object, striped over the folders that have room. Empty when the disks are full: then
  /// nothing has changed.
  std::optional<std::vector<StripePlace>> place(Bytes bytes);
  /// "1.2 GiB in /a, 3.4 GiB in /b", for messages.
  [[nodiscard]] std::string describe_free() const;

 private:
  [[nodiscard]] bool place_stripe(Bytes length, std::vector<Bytes>& ends, StripePlace& place);
  [[nodiscard]] bool grow_files(const std::vector<Bytes>& ends);

  std::vector<SpillFile> files_;
  std::vector<Bytes> room_;  // how long each file may become
  std::size_t next_file_ = 0;
};

}  // namespace sluice::tier
