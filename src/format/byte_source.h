// Where a format reader gets its bytes: a file past the page cache, or memory (tests and fuzzing).
#pragma once
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/units.h"

namespace sluice::format {

/// Random-access bytes of known size.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  [[nodiscard]] virtual Bytes size() const = 0;
  /// Fills `destination` from `offset`. Throws FormatError when the range is not inside, IoError when reading fails.
  virtual void read(Bytes offset, std::span<std::byte> destination) const = 0;
  /// What messages call it: the path.
  [[nodiscard]] virtual const std::string& name() const = 0;
};

/// A regular file.
std::unique_ptr<ByteSource> open_file_source(const std::filesystem::path& path);

/// A file of folder `folder` named by text that is not trusted: one path component, opened without leaving the folder
/// (the blobs of the hub cache to which a snapshot's links point are allowed). Throws FormatError for any other name.
std::unique_ptr<ByteSource> open_file_in(const std::filesystem::path& folder, std::string_view file_name);

/// Bytes in memory; a copy is kept.
std::unique_ptr<ByteSource> make_memory_source(std::string bytes, std::string name);

}  // namespace sluice::format
