// Where the encoded form of source files is kept, and whether the one that is there still belongs to them.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/token_cache.h"

namespace sluice::data {

/// The cache files of one path under one recipe. A data set may keep more than one stream: each has its own ending.
class CachePlace {
 public:
  /// `recipe` names everything besides the files that the tokens depend on. Makes the cache folder if need be.
  CachePlace(const DatasetOptions& options, std::string recipe, std::vector<std::filesystem::path> files);

  [[nodiscard]] const std::vector<std::filesystem::path>& files() const { return files_; }
  [[nodiscard]] const CacheKey& key() const { return key_; }
  [[nodiscard]] std::filesystem::path file(const std::string& ending) const { return base_.string() + ending; }
  /// A whole cache made from these files as they are now: by name, size and time, else by content.
  [[nodiscard]] std::optional<TokenCache> find(const std::string& ending) const;
  /// The cache that was just written. Throws IoError when it cannot be read back.
  [[nodiscard]] TokenCache reopen(const std::string& ending) const;
  /// Throws IoError when a source changed since construction.
  void check_unchanged() const;

 private:
  std::vector<std::filesystem::path> files_;
  CacheKey key_;
  std::filesystem::path base_;
};

}  // namespace sluice::data
