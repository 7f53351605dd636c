#include "data/token_cache.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace sluice::data {
namespace {

// At the end of the file, little-endian, every field a u64. `own_checksum` covers the fields before it.
struct Trailer {
  std::uint64_t recipe;
  std::uint64_t source_stat;
  std::uint64_t source;
  std::uint64_t content;
  std::uint64_t num_tokens;
  std::uint64_t num_documents;
  std::uint64_t max_id;
  std::uint64_t version;
  std::uint64_t own_checksum;
  char magic[8];
};
static_assert(sizeof(Trailer) == 80);

constexpr std::uint64_t kVersion = 1;
constexpr char kMagic[8] = {'S', 'L', 'U', 'I', 'C', 'T', 'O', 'K'};

std::uint64_t own_checksum(const Trailer& trailer) {
  return checksum(std::as_bytes(std::span(&trailer, 1)).first(offsetof(Trailer, own_checksum)));
}

bool is_whole(const Trailer& trailer, Bytes file_size) {
  return std::memcmp(trailer.magic, kMagic, sizeof kMagic) == 0 && trailer.version == kVersion &&
         trailer.own_checksum == own_checksum(trailer) &&
         trailer.num_tokens == static_cast<std::uint64_t>(file_size - static_cast<Bytes>(sizeof trailer)) / 4;
}

}  // namespace

std::optional<TokenCache> TokenCache::open(const std::filesystem::path& path, std::uint64_t recipe) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return std::nullopt;
  auto file = std::make_unique<FileReader>(path);
  Trailer trailer{};
  if (file->size() < static_cast<Bytes>(sizeof trailer)) return std::nullopt;
  file->read(file->size() - static_cast<Bytes>(sizeof trailer), std::as_writable_bytes(std::span(&trailer, 1)));
  if (!is_whole(trailer, file->size()) || trailer.recipe != recipe) return std::nullopt;
  TokenCache cache(std::move(file));
  cache.info_ = {static_cast<std::int64_t>(trailer.num_tokens), static_cast<std::int64_t>(trailer.num_documents),
                 static_cast<std::int64_t>(trailer.max_id), trailer.content, trailer.source};
  cache.trusted_stat_ = trailer.source_stat;
  return cache;
}

void TokenCache::read(std::int64_t first, std::span<std::int32_t> tokens) const {
  file_->read(first * 4, std::as_writable_bytes(tokens));
  for (const std::int32_t token : tokens)
    if (token < 0 || token > info_.max_id)
      throw FormatError("data.cache", file_->path().string() + " is damaged",
                        "expected ids up to " + std::to_string(info_.max_id) + ", got " + std::to_string(token),
                        "delete it; it is made again");
}

void TokenCacheWriter::append(std::span<const std::int32_t> tokens) {
  if (tokens.empty()) return;
  file_.append(std::as_bytes(tokens));
  info_.num_tokens += static_cast<std::int64_t>(tokens.size());
  info_.max_id = std::max<std::int64_t>(info_.max_id, *std::max_element(tokens.begin(), tokens.end()));
}

void TokenCacheWriter::publish(const CacheKey& key, std::uint64_t source) {
  Trailer trailer{};
  trailer.recipe = key.recipe;
  trailer.source_stat = key.source_stat;
  trailer.source = source;
  trailer.content = file_.checksum();
  trailer.num_tokens = static_cast<std::uint64_t>(info_.num_tokens);
  trailer.num_documents = static_cast<std::uint64_t>(info_.num_documents);
  trailer.max_id = static_cast<std::uint64_t>(info_.max_id);
  trailer.version = kVersion;
  trailer.own_checksum = own_checksum(trailer);
  std::memcpy(trailer.magic, kMagic, sizeof kMagic);
  file_.append(std::as_bytes(std::span(&trailer, 1)));
  file_.publish();
}

}  // namespace sluice::data
