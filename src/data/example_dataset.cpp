#include "data/example_dataset.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "data/cache_place.h"
#include "data/example_encoder.h"
#include "data/hex.h"
#include "data/records.h"

namespace sluice::data {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::int64_t kRowUnit = 64;
constexpr const char* kTokens = ".examples";  ///< per token 2 * id + (is it a target)
constexpr const char* kStarts = ".starts";    ///< where each example starts, and the end: low and high 31 bits
constexpr std::array kKinds = {"chat", "sharegpt", "alpaca", "completion"};

class StartTable {
 public:
  explicit StartTable(TokenCache cache) : cache_(std::move(cache)) {}

  /// Where example `index` starts and ends; all are checked to lie inside `num_tokens`.
  [[nodiscard]] std::pair<std::int64_t, std::int64_t> range(std::int64_t index) const {
    std::array<std::int32_t, 4> words{};
    cache_.read(2 * index, words);
    return {join(words[0], words[1]), join(words[2], words[3])};
  }
  [[nodiscard]] std::int64_t num_examples() const { return cache_.info().num_tokens / 2 - 1; }

 private:
  static std::int64_t join(std::int32_t low, std::int32_t high) { return std::int64_t{high} << 31 | low; }
  TokenCache cache_;
};

class ExampleDataset final : public Dataset {
 public:
  ExampleDataset(TokenCache tokens, StartTable starts, const DatasetOptions& options, std::string kind,
                 std::int32_t pad_id)
      : tokens_(std::move(tokens)), starts_(std::move(starts)), kind_(std::move(kind)), pad_id_(pad_id) {
    num_rows_ = starts_.num_examples();
    std::int64_t longest = 0, num_cut = 0;
    for (std::int64_t row = 0; row < num_rows_; ++row) {
      const auto [begin, end] = starts_.range(row);
      if (begin < 0 || end < begin || end > tokens_.info().num_tokens)
        throw FormatError("data.cache", "the cache of " + options.path.string() + " is damaged", {},
                          "delete the cache folder; it is made again");
      longest = std::max(longest, end - begin);
      num_cut += end - begin > options.seq_len;
      num_filled_ += std::min(end - begin, options.seq_len);
    }
    seq_len_ = std::min(options.seq_len, (longest + kRowUnit - 1) / kRowUnit * kRowUnit);
    if (num_cut > 0)
      log_warning(std::to_string(num_cut) + " of " + std::to_string(num_rows_) + " examples of " +
                  options.path.string() + " are longer than --seq-len " + std::to_string(options.seq_len) +
                  " and are cut; the longest has " + std::to_string(longest) + " tokens");
  }

  std::int64_t num_rows() const override { return num_rows_; }
  std::int64_t seq_len() const override { return seq_len_; }
  std::int64_t max_id() const override { return std::max<std::int64_t>(tokens_.info().max_id / 2, pad_id_); }
  bool rows_stand_alone() const override { return true; }
  std::string fingerprint() const override {
    return to_hex(
        mix(mix(tokens_.info().content, static_cast<std::uint64_t>(seq_len_)), static_cast<std::uint64_t>(pad_id_)));
  }
  std::string summary() const override {
    const std::int64_t room = num_rows_ * seq_len_;
    return kind_ + ": " + std::to_string(num_rows_) + " examples, " + std::to_string(num_filled_) +
           " tokens in rows of " + std::to_string(seq_len_) + ", " +
           std::to_string((room - num_filled_) * 100 / std::max<std::int64_t>(room, 1)) + " % padded";
  }

  void read_row(std::int64_t row, std::span<std::int64_t> input_ids, std::span<std::int64_t> labels) const override {
    const auto [begin, end] = starts_.range(row);
    const auto count = static_cast<std::size_t>(std::min(end - begin, seq_len_));
    buffer_.resize(count);
    tokens_.read(begin, buffer_);
    for (std::size_t i = 0; i < count; ++i) {
      input_ids[i] = buffer_[i] / 2;
      labels[i] = buffer_[i] % 2 == 1 ? input_ids[i] : kIgnoreLabel;
    }
    std::ranges::fill(input_ids.subspan(count), pad_id_);
    std::ranges::fill(labels.subspan(count), kIgnoreLabel);
  }

 private:
  TokenCache tokens_;
  StartTable starts_;
  std::string kind_;
  std::int32_t pad_id_;
  std::int64_t num_rows_ = 0, seq_len_ = 0, num_filled_ = 0;
  mutable std::vector<std::int32_t> buffer_;
};

// Both streams of a cache while they are written.
class ExampleWriter {
 public:
  explicit ExampleWriter(const CachePlace& place) : tokens_(place.file(kTokens)), starts_(place.file(kStarts)) {}

  void add(const EncodedExample& example) {
    if (std::ranges::none_of(example.targets.begin() + !example.targets.empty(), example.targets.end(),
                             [](bool target) { return target; })) {
      ++num_without_;
      return;
    }
    start();
    std::vector<std::int32_t> words(example.ids.size());
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = 2 * example.ids[i] + (example.targets[i] ? 1 : 0);
    tokens_.append(words);
    tokens_.end_document();
  }

  void publish(const CacheKey& key, std::uint64_t source) {
    start();
    tokens_.publish(key, source);
    starts_.publish(key, source);
  }
  [[nodiscard]] std::int64_t num_without() const { return num_without_; }

 private:
  void start() {
    const std::int64_t at = tokens_.info().num_tokens;
    starts_.append(std::array{static_cast<std::int32_t>(at & 0x7FFFFFFF), static_cast<std::int32_t>(at >> 31)});
  }

  TokenCacheWriter tokens_, starts_;
  std::int64_t num_without_ = 0;
};

void build_cache(const CachePlace& place, const DatasetOptions& options, const ChatTemplate* chat_template,
                 ExampleKind kind) {
  const fs::path& file = place.files().front();
  log_info("encoding " + file.string() + " into " + place.file(kTokens).string());
  ExampleWriter writer(place);
  const ExampleEncoder encoder(*options.tokenizer, chat_template);
  const auto hash = for_each_record(file, [&](std::string_view text, std::int64_t number) {
    const std::string where = "record " + std::to_string(number) + " of " + file.string();
    const Json record = Json::parse(text, nullptr, false);
    if (record.is_discarded()) throw FormatError("data", where + " is malformed", "expected a JSON object");
    writer.add(encoder.encode(read_example(record, kind, where), where));
  });
  place.check_unchanged();
  if (writer.num_without() > 0)
    log_warning(std::to_string(writer.num_without()) + " examples of " + file.string() +
                " have no target and are left out");
  writer.publish(place.key(), mix(0, hash));
}

std::unique_ptr<Dataset> open_examples(const DatasetOptions& options, ExampleKind kind) {
  if (options.tokenizer == nullptr)
    throw ConfigError("data", "examples need a tokenizer", "got none for " + options.path.string(),
                      "use a model folder with tokenizer.json or give --tokenizer");
  if (options.seq_len < 2)
    throw ConfigError("data", "bad --seq-len", "expected at least 2, got " + std::to_string(options.seq_len));
  const std::string name = kKinds[static_cast<std::size_t>(kind)];
  const std::int32_t eos = options.tokenizer->eos_id().value_or(-1);
  const ChatTemplate* chat_template = options.chat_template == nullptr ? nullptr : options.chat_template->open();
  const std::string rendering = chat_template == nullptr ? "none" : chat_template->fingerprint();
  const CachePlace place(
      options, "1|" + name + '|' + options.tokenizer->fingerprint() + '|' + std::to_string(eos) + '|' + rendering,
      {options.path});
  auto tokens = place.find(kTokens);
  auto starts = place.find(kStarts);
  if (!tokens || !starts || tokens->info().source != starts->info().source ||
      starts->info().num_tokens != 2 * (tokens->info().num_documents + 1)) {
    build_cache(place, options, chat_template, kind);
    tokens = place.reopen(kTokens);
    starts = place.reopen(kStarts);
  }
  if (tokens->info().num_documents == 0)
    throw FormatError("data", options.path.string() + " has nothing to learn",
                      "expected an assistant's words, got none");
  return std::make_unique<ExampleDataset>(std::move(*tokens), StartTable(std::move(*starts)), options, name,
                                          std::max(eos, 0));
}

bool recognises(const fs::path& path, ExampleKind kind) {
  if (fs::is_directory(path)) return false;
  return has_shape(first_record(path), kind);
}

}  // namespace

bool recognises_chat(const fs::path& path) { return recognises(path, ExampleKind::Chat); }
bool recognises_sharegpt(const fs::path& path) { return recognises(path, ExampleKind::ShareGpt); }
bool recognises_alpaca(const fs::path& path) { return recognises(path, ExampleKind::Alpaca); }
bool recognises_completion(const fs::path& path) { return recognises(path, ExampleKind::Completion); }

std::unique_ptr<Dataset> open_chat(const DatasetOptions& options) { return open_examples(options, ExampleKind::Chat); }
std::unique_ptr<Dataset> open_sharegpt(const DatasetOptions& options) {
  return open_examples(options, ExampleKind::ShareGpt);
}
std::unique_ptr<Dataset> open_alpaca(const DatasetOptions& options) {
  return open_examples(options, ExampleKind::Alpaca);
}
std::unique_ptr<Dataset> open_completion(const DatasetOptions& options) {
  return open_examples(options, ExampleKind::Completion);
}

}  // namespace sluice::data
