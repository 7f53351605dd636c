// A file front to back in blocks of one size, hashed on the way, so that the hash does not depend on who reads it.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/file.h"

namespace sluice::data {

class BlockReader {
 public:
  explicit BlockReader(const std::filesystem::path& path) : file_(path) {}
  /// The next block, empty at the end. Valid until the next call.
  std::string_view next();
  /// Of all blocks so far; 0 for an empty file.
  [[nodiscard]] std::uint64_t hash() const { return hash_; }

 private:
  FileReader file_;
  std::string block_;
  Bytes position_ = 0;
  std::uint64_t hash_ = 0;
};

/// First bytes of a file, at most `limit`; for looking at what it is.
std::string read_prefix(const std::filesystem::path& path, Bytes limit);

}  // namespace sluice::data
