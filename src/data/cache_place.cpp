#include "data/cache_place.h"

#include <chrono>
#include <cstdlib>

#include "base/error.h"
#include "base/random.h"
#include "data/block_reader.h"
#include "data/hex.h"

namespace sluice::data {
namespace {

namespace fs = std::filesystem;

constexpr auto kSettled = std::chrono::seconds(2);  // a file younger than this may change without a change of its time

// Names, sizes and times; 0 when a file has changed too lately for its time to prove anything.
std::uint64_t stat_of(const std::vector<fs::path>& files) {
  std::string text;
  for (const auto& file : files) {
    const auto time = fs::last_write_time(file);
    if (time + kSettled > fs::file_time_type::clock::now()) return 0;
    text += fs::absolute(file).string() + '|' + std::to_string(fs::file_size(file)) + '|' +
            std::to_string(time.time_since_epoch().count()) + '\n';
  }
  return checksum(std::as_bytes(std::span(text))) | 1;
}

std::uint64_t hash_of(const std::vector<fs::path>& files) {
  std::uint64_t hash = 0;
  for (const auto& file : files) {
    BlockReader reader(file);
    while (!reader.next().empty()) continue;
    hash = mix(hash, reader.hash());
  }
  return hash;
}

fs::path cache_folder(const DatasetOptions& options) {
  fs::path folder = options.cache_dir;
  if (folder.empty()) {
    const char* cache = std::getenv("XDG_CACHE_HOME");
    const char* home = std::getenv("HOME");
    folder = cache != nullptr && *cache != '\0' ? fs::path(cache)
             : home != nullptr && *home != '\0' ? fs::path(home) / ".cache"
                                                : fs::temp_directory_path();
    folder = folder / "sluice" / "tokens";
  }
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw IoError("data.cache", "cannot make the folder " + folder.string(), error.message(),
                  "set XDG_CACHE_HOME to a writable folder");
  return folder;
}

std::uint64_t hash_text(const std::string& text) { return checksum(std::as_bytes(std::span(text))); }

}  // namespace

CachePlace::CachePlace(const DatasetOptions& options, std::string recipe, std::vector<fs::path> files)
    : files_(std::move(files)), key_{hash_text(recipe), stat_of(files_)} {
  const std::string place = fs::absolute(options.path).lexically_normal().string() + '|' + recipe;
  base_ = cache_folder(options) / (options.path.stem().string() + '-' + to_hex(hash_text(place)));
}

std::optional<TokenCache> CachePlace::find(const std::string& ending) const {
  auto cache = TokenCache::open(file(ending), key_.recipe);
  if (cache && !cache->matches_stat(key_.source_stat) && cache->info().source != hash_of(files_)) cache.reset();
  return cache;
}

TokenCache CachePlace::reopen(const std::string& ending) const {
  auto cache = TokenCache::open(file(ending), key_.recipe);
  if (!cache) throw IoError("data.cache", "cannot read back " + file(ending).string());
  return std::move(*cache);
}

void CachePlace::check_unchanged() const {
  if (key_.source_stat != 0 && stat_of(files_) != key_.source_stat)
    throw IoError("data", files_.front().string() + " changed while it was read", {}, "run again when it is complete");
}

}  // namespace sluice::data
