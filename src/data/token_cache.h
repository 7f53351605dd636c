// Encoded text on disk: one stream of int32 tokens and, behind it, a trailer that says from what they were made. A
// cache that is incomplete, damaged or made from something else is "no cache", never an error.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/file.h"

namespace sluice::data {

/// What a stream of tokens depends on.
struct CacheKey {
  std::uint64_t recipe = 0;       ///< tokenizer, format and how documents are joined
  std::uint64_t source_stat = 0;  ///< names, sizes and times of the source files
};

struct CacheInfo {
  std::int64_t num_tokens = 0;
  std::int64_t num_documents = 0;
  std::int64_t max_id = 0;
  std::uint64_t content = 0;  ///< XXH3 of the tokens
  std::uint64_t source = 0;   ///< of the bytes of the source files
};

/// Reads any range of a complete cache.
class TokenCache {
 public:
  /// The cache at `path` if it is whole and its recipe fits. `source_stat` may differ: see `matches_stat`.
  static std::optional<TokenCache> open(const std::filesystem::path& path, std::uint64_t recipe);
  [[nodiscard]] const CacheInfo& info() const { return info_; }
  /// Whether the source files still have the names, sizes and times they had, and those were old enough to be trusted.
  [[nodiscard]] bool matches_stat(std::uint64_t source_stat) const {
    return trusted_stat_ == source_stat && source_stat != 0;
  }
  /// Tokens `first` ... of the stream. Throws FormatError when a token is outside 0 ... max_id.
  void read(std::int64_t first, std::span<std::int32_t> tokens) const;

 private:
  explicit TokenCache(std::unique_ptr<FileReader> file) : file_(std::move(file)) {}
  std::unique_ptr<FileReader> file_;
  CacheInfo info_;
  std::uint64_t trusted_stat_ = 0;
};

/// Writes a cache front to back; nothing is visible before `publish`.
class TokenCacheWriter {
 public:
  explicit TokenCacheWriter(const std::filesystem::path& path) : file_(path) {}
  void append(std::span<const std::int32_t> tokens);
  void end_document() { ++info_.num_documents; }
  [[nodiscard]] const CacheInfo& info() const { return info_; }
  /// `key.source_stat` 0: never trust sizes and times, compare the content.
  void publish(const CacheKey& key, std::uint64_t source);

 private:
  FileWriter file_;
  CacheInfo info_;
};

}  // namespace sluice::data
