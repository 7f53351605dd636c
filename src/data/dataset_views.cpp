#include "data/dataset_views.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "data/hex.h"
#include "data/permutation.h"

namespace sluice::data {
namespace {

constexpr std::int64_t kBlock = 1000;                    // places in which every set gets its exact share
constexpr std::uint64_t kSplitPurpose = 0x73706c6974;    // "split"
constexpr std::uint64_t kMixPurpose = 0x6d697874757265;  // "mixture"

std::uint64_t hash_of(const std::string& text) { return checksum(std::as_bytes(std::span(text))); }

class Part final : public Dataset {
 public:
  Part(std::shared_ptr<const Dataset> base, std::int64_t first, std::int64_t count)
      : base_(std::move(base)), first_(first), count_(count) {}

  std::int64_t num_rows() const override { return count_; }
  std::int64_t seq_len() const override { return base_->seq_len(); }
  std::int64_t max_id() const override { return base_->max_id(); }
  bool rows_stand_alone() const override { return base_->rows_stand_alone(); }
  void read_row(std::int64_t row, std::span<std::int64_t> input_ids, std::span<std::int64_t> labels) const override {
    std::int64_t at = first_ + row;
    if (base_->rows_stand_alone()) {
      const auto size = static_cast<std::uint64_t>(base_->num_rows());
      at = static_cast<std::int64_t>(Permutation{kSplitPurpose, 0, size}(static_cast<std::uint64_t>(at)));
    }
    base_->read_row(at, input_ids, labels);
  }
  std::string fingerprint() const override {
    return to_hex(hash_of(base_->fingerprint() + '|' + std::to_string(first_) + '|' + std::to_string(count_)));
  }
  std::string summary() const override { return base_->summary() + "; " + std::to_string(count_) + " rows of it"; }

 private:
  std::shared_ptr<const Dataset> base_;
  std::int64_t first_, count_;
};

class Joined final : public Dataset {
 public:
  explicit Joined(std::vector<WeightedDataset> parts) : parts_(std::move(parts)) {
    for (const WeightedDataset& part : parts_) {
      starts_.push_back(num_rows_);
      num_rows_ += part.dataset->num_rows();
    }
    if (parts_[0].weight > 0) fill_block();
  }

  std::int64_t num_rows() const override { return num_rows_; }
  std::int64_t seq_len() const override { return parts_[0].dataset->seq_len(); }
  std::int64_t max_id() const override {
    std::int64_t most = 0;
    for (const WeightedDataset& part : parts_) most = std::max(most, part.dataset->max_id());
    return most;
  }
  bool rows_stand_alone() const override {
    return std::ranges::all_of(parts_, [](const auto& part) { return part.dataset->rows_stand_alone(); });
  }
  void read_row(std::int64_t row, std::span<std::int64_t> input_ids, std::span<std::int64_t> labels) const override {
    const auto part = static_cast<std::size_t>(std::ranges::upper_bound(starts_, row) - starts_.begin()) - 1;
    parts_[part].dataset->read_row(row - starts_[part], input_ids, labels);
  }
  std::int64_t row_at(std::uint64_t place, const RowOrder& order) const override {
    if (block_.empty()) return Dataset::row_at(place, order);
    const std::uint64_t block = place / kBlock;
    std::uint64_t index = place % kBlock;
    if (order.shuffle) index = Permutation{mix(order.seed, kMixPurpose), block, kBlock}(index);
    const Place& chosen = block_[index];
    const auto part = static_cast<std::size_t>(chosen.part);
    const std::uint64_t local =
        block * static_cast<std::uint64_t>(shares_[part]) + static_cast<std::uint64_t>(chosen.rank);
    return starts_[part] + parts_[part].dataset->row_at(local, {order.shuffle, mix(order.seed, part)});
  }
  std::string fingerprint() const override {
    std::string all;
    for (std::size_t i = 0; i < parts_.size(); ++i)
      all += parts_[i].dataset->fingerprint() + '|' + std::to_string(block_.empty() ? 0 : shares_[i]) + '|';
    return to_hex(hash_of(all));
  }
  std::string summary() const override {
    std::string all = std::to_string(num_rows_) + " rows of " + std::to_string(parts_.size()) + " sets";
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      all += "; ";
      if (!block_.empty()) all += std::to_string(shares_[i]) + " of " + std::to_string(kBlock) + " from ";
      all += parts_[i].dataset->summary();
    }
    return all;
  }

 private:
  struct Place {
    int part;
    std::int64_t rank;  ///< among the places of the part
  };

  // Shares by the largest remainders, then always the part that is furthest behind its share.
  void fill_block() {
    double sum = 0;
    for (const WeightedDataset& part : parts_) sum += part.weight;
    std::int64_t given = 0;
    for (const WeightedDataset& part : parts_) {
      shares_.push_back(std::max<std::int64_t>(1, static_cast<std::int64_t>(part.weight / sum * kBlock)));
      given += shares_.back();
    }
    const auto error = [&](std::size_t i) { return parts_[i].weight / sum * kBlock - static_cast<double>(shares_[i]); };
    while (given != kBlock) {
      const int change = given < kBlock ? 1 : -1;
      std::size_t best = parts_.size();
      for (std::size_t i = 0; i < parts_.size(); ++i)
        if (shares_[i] + change >= 1 && (best == parts_.size() || change * error(i) > change * error(best))) best = i;
      shares_[best] += change;
      given += change;
    }
    std::vector<std::int64_t> counts(parts_.size());
    for (std::int64_t place = 0; place < kBlock; ++place) {
      int best = -1;
      std::int64_t most = 0;
      for (std::size_t i = 0; i < parts_.size(); ++i) {
        const std::int64_t behind = shares_[i] * (place + 1) - kBlock * counts[i];
        if (counts[i] < shares_[i] && (best < 0 || behind > most)) {
          best = static_cast<int>(i);
          most = behind;
        }
      }
      block_.push_back({best, counts[static_cast<std::size_t>(best)]++});
    }
  }

  std::vector<WeightedDataset> parts_;
  std::vector<std::int64_t> starts_;
  std::vector<std::int64_t> shares_;
  std::vector<Place> block_;  ///< empty: no weights
  std::int64_t num_rows_ = 0;
};

class Padded final : public Dataset {
 public:
  Padded(std::unique_ptr<Dataset> base, std::int64_t seq_len) : base_(std::move(base)), seq_len_(seq_len) {
    SLUICE_CHECK(base_->seq_len() <= seq_len_, "rows of ", base_->seq_len(), " padded to ", seq_len_);
  }

  std::int64_t num_rows() const override { return base_->num_rows(); }
  std::int64_t seq_len() const override { return seq_len_; }
  std::int64_t max_id() const override { return base_->max_id(); }
  bool rows_stand_alone() const override { return base_->rows_stand_alone(); }
  std::int64_t row_at(std::uint64_t place, const RowOrder& order) const override { return base_->row_at(place, order); }
  void read_row(std::int64_t row, std::span<std::int64_t> input_ids, std::span<std::int64_t> labels) const override {
    const auto width = static_cast<std::size_t>(base_->seq_len());
    base_->read_row(row, input_ids.first(width), labels.first(width));
    std::ranges::fill(input_ids.subspan(width), 0);
    std::ranges::fill(labels.subspan(width), kIgnoreLabel);
  }
  std::string fingerprint() const override {
    return to_hex(hash_of(base_->fingerprint() + "|padded|" + std::to_string(seq_len_)));
  }
  std::string summary() const override { return base_->summary() + ", padded to " + std::to_string(seq_len_); }

 private:
  std::unique_ptr<Dataset> base_;
  std::int64_t seq_len_;
};

}  // namespace

SplitDataset split_dataset(std::unique_ptr<Dataset> dataset, double fraction) {
  const std::shared_ptr<const Dataset> base = std::move(dataset);
  const std::int64_t rows = base->num_rows();
  if (rows < 2)
    throw ConfigError("data", "nothing can be split off for validation", "expected at least two rows, got one",
                      "give more data, a shorter --seq-len or --eval-data FILE");
  const std::int64_t held = std::clamp<std::int64_t>(std::llround(fraction * static_cast<double>(rows)), 1, rows - 1);
  return {std::make_unique<Part>(base, 0, rows - held), std::make_unique<Part>(base, rows - held, held)};
}

std::unique_ptr<Dataset> join_datasets(std::vector<WeightedDataset> parts) {
  SLUICE_CHECK(!parts.empty(), "no data sets");
  const auto weighted = std::ranges::count_if(parts, [](const auto& part) { return part.weight > 0; });
  if (weighted != 0 && weighted != static_cast<std::ptrdiff_t>(parts.size()))
    throw ConfigError("data", "only some files have a weight",
                      "expected FILE:WEIGHT for all of them or none, got " + std::to_string(weighted) + " of " +
                          std::to_string(parts.size()));
  if (static_cast<std::int64_t>(parts.size()) > kBlock)
    throw ConfigError("data", "too many files", "expected at most " + std::to_string(kBlock));
  for (const WeightedDataset& part : parts)
    if (part.dataset->seq_len() != parts[0].dataset->seq_len())
      throw ConfigError("data", "rows of the files differ in length",
                        "expected " + std::to_string(parts[0].dataset->seq_len()) + " tokens, got " +
                            std::to_string(part.dataset->seq_len()),
                        "tokenise all with the same --seq-len");
  return std::make_unique<Joined>(std::move(parts));
}

std::unique_ptr<Dataset> pad_dataset(std::unique_ptr<Dataset> dataset, std::int64_t seq_len) {
  if (dataset->seq_len() == seq_len) return dataset;
  return std::make_unique<Padded>(std::move(dataset), seq_len);
}

}  // namespace sluice::data
