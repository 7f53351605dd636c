// Files for streams of tensors: sequential or random access past the page cache (a cgroup counts the cache), exact
// transfer lengths, durable publication. Blocking; the disk tier has its own asynchronous ring.
#pragma once
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/units.h"

namespace sluice {

/// A descriptor that closes itself. Move-only.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) noexcept : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor();
  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] bool valid() const noexcept { return fd_ >= 0; }
  void close() noexcept;

 private:
  int fd_ = -1;
};

/// Reads any byte range of a regular file. What was read is dropped from the page cache, so a file larger than memory
/// costs none. Not thread-safe. Throws IoError (missing, not a regular file, unreadable) and FormatError (shorter than
/// asked).
class FileReader {
 public:
  explicit FileReader(std::filesystem::path path);
  /// Takes over `fd`, open for reading; `path` is its name in messages.
  FileReader(FileDescriptor fd, std::filesystem::path path);
  [[nodiscard]] Bytes size() const noexcept { return size_; }
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  /// Fills `destination` from `offset`; all of it or an error.
  void read(Bytes offset, std::span<std::byte> destination) const;

 private:
  std::filesystem::path path_;
  FileDescriptor fd_;
  Bytes size_ = 0;
};

/// Writes a file front to back under a temporary name; `publish` makes it durable (fsync file, rename, fsync folder)
/// and visible. Without `publish` nothing is left behind. Written pages are flushed and dropped as it goes. Keeps an
/// XXH3-64 of all bytes. Throws IoError naming path and errno. Fail points: file.write, file.sync, file.rename.
class FileWriter {
 public:
  explicit FileWriter(std::filesystem::path path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  void append(std::span<const std::byte> bytes);
  void append(std::string_view text);
  [[nodiscard]] Bytes position() const noexcept { return position_; }
  void publish();
  /// XXH3-64 of everything appended so far.
  [[nodiscard]] std::uint64_t checksum() const;

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  FileDescriptor fd_;
  Bytes position_ = 0;
  Bytes flushed_ = 0;
  void* hash_ = nullptr;
};

/// Whole small file as text, at most `limit` bytes (FormatError beyond).
std::string read_text(const std::filesystem::path& path, Bytes limit = 64 * MiB);

/// Small text file, written durably and atomically.
void write_text(const std::filesystem::path& path, std::string_view text);

/// fsync of a folder, so that names created or renamed in it survive a power cut.
void sync_folder(const std::filesystem::path& folder);

/// XXH3-64 of a block of memory.
std::uint64_t checksum(std::span<const std::byte> bytes);

}  // namespace sluice
