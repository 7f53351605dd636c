#include "data/text_dataset.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "data/block_reader.h"
#include "data/hex.h"
#include "data/text_pieces.h"
#include "data/token_cache.h"
#include "data/unicode.h"

namespace sluice::data {
namespace {

namespace fs = std::filesystem;

constexpr Bytes kPrefix = 64 * KiB;
constexpr auto kSettled = std::chrono::seconds(2);  // a file younger than this may change without a change of its time

class PackedDataset final : public Dataset {
 public:
  PackedDataset(TokenCache cache, std::int64_t seq_len, std::int32_t pad_id, std::string kind)
      : cache_(std::move(cache)), seq_len_(seq_len), pad_id_(pad_id), kind_(std::move(kind)) {
    const std::int64_t tokens = cache_.info().num_tokens;
    num_rows_ = tokens / seq_len_ + (tokens % seq_len_ > 1 ? 1 : 0);
  }

  std::int64_t num_rows() const override { return num_rows_; }
  std::int64_t seq_len() const override { return seq_len_; }
  std::int64_t max_id() const override { return std::max<std::int64_t>(cache_.info().max_id, pad_id_); }
  std::string fingerprint() const override {
    return to_hex(
        mix(mix(cache_.info().content, static_cast<std::uint64_t>(seq_len_)), static_cast<std::uint64_t>(pad_id_)));
  }

  void read_row(std::int64_t row, std::span<std::int64_t> input_ids, std::span<std::int64_t> labels) const override {
    const std::int64_t first = row * seq_len_;
    const auto count = static_cast<std::size_t>(std::min(seq_len_, cache_.info().num_tokens - first));
    buffer_.resize(count);
    cache_.read(first, buffer_);
    std::copy(buffer_.begin(), buffer_.end(), input_ids.begin());
    std::copy(buffer_.begin(), buffer_.end(), labels.begin());
    std::fill(input_ids.begin() + static_cast<std::ptrdiff_t>(count), input_ids.end(), pad_id_);
    std::fill(labels.begin() + static_cast<std::ptrdiff_t>(count), labels.end(), kIgnoreLabel);
  }

  std::string summary() const override {
    const auto& info = cache_.info();
    return kind_ + ": " + std::to_string(info.num_documents) + " documents, " + std::to_string(info.num_tokens) +
           " tokens in " + std::to_string(num_rows_) + " rows of " + std::to_string(seq_len_) + ", " +
           std::to_string(std::max<std::int64_t>(0, num_rows_ * seq_len_ - info.num_tokens)) + " padded";
  }

 private:
  TokenCache cache_;
  std::int64_t seq_len_;
  std::int32_t pad_id_;
  std::string kind_;
  std::int64_t num_rows_;
  mutable std::vector<std::int32_t> buffer_;
};

// Encodes one document after the other into a cache.
class DocumentEncoder {
 public:
  DocumentEncoder(const Tokenizer& tokenizer, TokenCacheWriter& writer)
      : tokenizer_(tokenizer), writer_(writer), frame_(tokenizer.special_frame()), eos_(tokenizer.eos_id()) {}

  void begin() { append(frame_.before); }
  void add(std::string_view piece) { append(tokenizer_.encode(piece, {.add_special = false})); }
  void end() {
    append(frame_.after);
    if (eos_ && last_ != *eos_) append({*eos_});
    last_ = -1;
    writer_.end_document();
  }

 private:
  void append(const std::vector<std::int32_t>& ids) {
    if (!ids.empty()) last_ = ids.back();
    writer_.append(ids);
  }

  const Tokenizer& tokenizer_;
  TokenCacheWriter& writer_;
  SpecialFrame frame_;
  std::optional<std::int32_t> eos_;
  std::int32_t last_ = -1;
};

/// Encodes a file and returns the hash of its bytes.
using EncodeFile = std::uint64_t (*)(const fs::path& file, DocumentEncoder& encoder);

std::uint64_t encode_text_file(const fs::path& file, DocumentEncoder& encoder) {
  encoder.begin();
  const auto hash = for_each_piece(file, kPieceBytes, [&](std::string_view piece) { encoder.add(piece); });
  encoder.end();
  return hash;
}

std::uint64_t encode_jsonl_file(const fs::path& file, DocumentEncoder& encoder) {
  return for_each_line(file, [&](std::string_view line, std::int64_t number) {
    std::string text;
    try {
      text = nlohmann::json::parse(line).at("text").get<std::string>();
    } catch (const nlohmann::json::exception& error) {
      throw FormatError("data", "line " + std::to_string(number) + " of " + file.string() + " is malformed",
                        "expected {\"text\": ...}: " + std::string(error.what()));
    }
    encoder.begin();
    for (std::string_view rest = text; !rest.empty();) {
      const std::size_t size = rest.size() > kPieceBytes + 4 ? find_cut(rest.substr(0, kPieceBytes + 4)) : rest.size();
      encoder.add(rest.substr(0, size));
      rest.remove_prefix(size);
    }
    encoder.end();
  });
}

std::vector<fs::path> source_files(const fs::path& path, std::string_view extension) {
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.is_regular_file() && entry.path().extension() == extension) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  if (files.empty())
    throw FormatError("data", "no text in folder " + path.string(), "expected files named *" + std::string(extension));
  return files;
}

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
                  "set XDG_CACHE_HOME or --cache-dir");
  return folder;
}

TokenCache build_cache(const fs::path& path, const CacheKey& key, const std::vector<fs::path>& files,
                       const Tokenizer& tokenizer, EncodeFile encode_file) {
  log_info("encoding " + files.front().string() + (files.size() > 1 ? " and others" : "") + " into " + path.string());
  TokenCacheWriter writer(path);
  DocumentEncoder encoder(tokenizer, writer);
  std::uint64_t hash = 0;
  for (const auto& file : files) hash = mix(hash, encode_file(file, encoder));
  if (key.source_stat != 0 && stat_of(files) != key.source_stat)
    throw IoError("data", files.front().string() + " changed while it was read", {}, "run again when it is complete");
  writer.publish(key, hash);
  auto cache = TokenCache::open(path, key.recipe);
  if (!cache) throw IoError("data.cache", "cannot read back " + path.string());
  return std::move(*cache);
}

std::unique_ptr<Dataset> open_packed(const DatasetOptions& options, const std::string& kind, std::string_view extension,
                                     EncodeFile encode_file) {
  if (options.tokenizer == nullptr)
    throw ConfigError("data", "text needs a tokenizer", "got none for " + options.path.string(),
                      "use a model folder with tokenizer.json or give --tokenizer");
  if (options.seq_len < 2)
    throw ConfigError("data", "bad --seq-len", "expected at least 2, got " + std::to_string(options.seq_len));
  const Tokenizer& tokenizer = *options.tokenizer;
  const std::int32_t eos = tokenizer.eos_id().value_or(-1);
  const auto files = source_files(options.path, extension);
  const std::string recipe = "1|" + kind + '|' + tokenizer.fingerprint() + '|' + std::to_string(eos);
  const CacheKey key{checksum(std::as_bytes(std::span(recipe))), stat_of(files)};
  const std::string place = fs::absolute(options.path).lexically_normal().string() + '|' + recipe;
  const fs::path file = cache_folder(options) / (options.path.stem().string() + '-' +
                                                 to_hex(checksum(std::as_bytes(std::span(place)))) + ".tokens");
  auto cache = TokenCache::open(file, key.recipe);
  if (cache && !cache->matches_stat(key.source_stat) && cache->info().source != hash_of(files)) cache.reset();
  if (!cache) cache = build_cache(file, key, files, tokenizer, encode_file);
  if (cache->info().num_tokens < 2)
    throw FormatError("data", options.path.string() + " is empty",
                      "expected at least two tokens, got " + std::to_string(cache->info().num_tokens));
  return std::make_unique<PackedDataset>(std::move(*cache), options.seq_len, std::max(eos, 0), kind);
}

// The first line of a file if it is a JSON object; null otherwise.
nlohmann::json first_object(const fs::path& path) {
  const std::string prefix = read_prefix(path, kPrefix);
  const auto begin = prefix.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos || prefix[begin] != '{') return nullptr;
  const auto end = prefix.find('\n', begin);
  auto object =
      nlohmann::json::parse(prefix.substr(begin, end == std::string::npos ? end : end - begin), nullptr, false);
  return object.is_object() ? object : nullptr;
}

}  // namespace

bool recognises_text_jsonl(const fs::path& path) {
  if (fs::is_directory(path)) return false;
  const auto object = first_object(path);
  return (object.is_object() && object.contains("text")) || (object.is_null() && path.extension() == ".jsonl");
}

bool recognises_text(const fs::path& path) {
  if (fs::is_directory(path) || path.extension() == ".txt") return true;
  if (path.extension() == ".json" || path.extension() == ".jsonl" || first_object(path).is_object()) return false;
  const std::string prefix = read_prefix(path, kPrefix);
  const auto bad = find_invalid_utf8(prefix);
  return prefix.find('\0') == std::string::npos && (!bad || *bad + 4 > prefix.size());
}

std::unique_ptr<Dataset> open_text(const DatasetOptions& options) {
  return open_packed(options, "text", ".txt", &encode_text_file);
}

std::unique_ptr<Dataset> open_text_jsonl(const DatasetOptions& options) {
  return open_packed(options, "text_jsonl", ".jsonl", &encode_jsonl_file);
}

}  // namespace sluice::data
