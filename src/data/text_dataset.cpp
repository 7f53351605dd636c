#include "data/text_dataset.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "data/block_reader.h"
#include "data/cache_place.h"
#include "data/documents.h"
#include "data/hex.h"
#include "data/records.h"
#include "data/unicode.h"

namespace sluice::data {
namespace {

namespace fs = std::filesystem;

constexpr Bytes kPrefix = 64 * KiB;
constexpr const char* kEnding = ".tokens";

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
class DocumentEncoder final : public DocumentSink {
 public:
  DocumentEncoder(const Tokenizer& tokenizer, TokenCacheWriter& writer)
      : tokenizer_(tokenizer), writer_(writer), frame_(tokenizer.special_frame()), eos_(tokenizer.eos_id()) {}

  void begin() override { append(frame_.before); }
  void add(std::string_view piece) override { append(tokenizer_.encode(piece, {.add_special = false})); }
  void end() override {
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

TokenCache build_cache(const CachePlace& place, const Tokenizer& tokenizer, ReadDocuments read) {
  const fs::path path = place.file(kEnding);
  log_info("encoding " + place.files().front().string() + (place.files().size() > 1 ? " and others" : "") + " into " +
           path.string());
  TokenCacheWriter writer(path);
  DocumentEncoder encoder(tokenizer, writer);
  std::uint64_t hash = 0;
  for (const auto& file : place.files()) hash = mix(hash, read(file, encoder));
  place.check_unchanged();
  writer.publish(place.key(), hash);
  return place.reopen(kEnding);
}

std::unique_ptr<Dataset> open_packed(const DatasetOptions& options, const std::string& kind, std::string_view extension,
                                     ReadDocuments read) {
  if (options.tokenizer == nullptr)
    throw ConfigError("data", "text needs a tokenizer", "got none for " + options.path.string(),
                      "use a model folder with tokenizer.json or give --tokenizer");
  if (options.seq_len < 2)
    throw ConfigError("data", "bad --seq-len", "expected at least 2, got " + std::to_string(options.seq_len));
  const Tokenizer& tokenizer = *options.tokenizer;
  const std::int32_t eos = tokenizer.eos_id().value_or(-1);
  const CachePlace place(options, "1|" + kind + '|' + tokenizer.fingerprint() + '|' + std::to_string(eos),
                         source_files(options.path, extension));
  auto cache = place.find(kEnding);
  if (!cache) cache = build_cache(place, tokenizer, read);
  if (cache->info().num_tokens < 2)
    throw FormatError("data", options.path.string() + " is empty",
                      "expected at least two tokens, got " + std::to_string(cache->info().num_tokens));
  return std::make_unique<PackedDataset>(std::move(*cache), options.seq_len, std::max(eos, 0), kind);
}

}  // namespace

bool recognises_text_jsonl(const fs::path& path) {
  if (fs::is_directory(path)) return false;
  const auto record = first_record(path);
  return (record.is_object() && record.contains("text")) || (record.is_null() && path.extension() == ".jsonl");
}

bool recognises_text(const fs::path& path) {
  if (fs::is_directory(path) || path.extension() == ".txt") return true;
  if (path.extension() == ".json" || path.extension() == ".jsonl" || first_record(path).is_object()) return false;
  const std::string prefix = read_prefix(path, kPrefix);
  const auto bad = find_invalid_utf8(prefix);
  return prefix.find('\0') == std::string::npos && (!bad || *bad + 4 > prefix.size());
}

std::unique_ptr<Dataset> open_text(const DatasetOptions& options) {
  return open_packed(options, "text", ".txt", &read_text_file);
}

std::unique_ptr<Dataset> open_text_jsonl(const DatasetOptions& options) {
  return open_packed(options, "text_jsonl", ".jsonl", &read_jsonl_file);
}

void visit_text(const fs::path& path, DocumentSink& sink) {
  for (const fs::path& file : source_files(path, ".txt")) read_text_file(file, sink);
}

void visit_text_jsonl(const fs::path& path, DocumentSink& sink) { read_jsonl_file(path, sink); }

}  // namespace sluice::data
