#include "data/dataset_views.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "base/error.h"
#include "data/loader.h"

namespace sluice::data {
namespace {

// Row r is first + r in every place.
class NumberedDataset final : public Dataset {
 public:
  NumberedDataset(std::int64_t first, std::int64_t num_rows, std::int64_t seq_len = 4, bool alone = false)
      : first_(first), num_rows_(num_rows), seq_len_(seq_len), alone_(alone) {}
  std::int64_t num_rows() const override { return num_rows_; }
  std::int64_t seq_len() const override { return seq_len_; }
  void read_row(std::int64_t row, std::span<std::int64_t> ids, std::span<std::int64_t> labels) const override {
    std::fill(ids.begin(), ids.end(), first_ + row);
    std::fill(labels.begin(), labels.end(), first_ + row);
  }
  std::string fingerprint() const override { return std::to_string(first_) + "," + std::to_string(num_rows_); }
  std::string summary() const override { return "numbers"; }
  std::int64_t max_id() const override { return first_ + num_rows_ - 1; }
  bool rows_stand_alone() const override { return alone_; }

 private:
  std::int64_t first_, num_rows_, seq_len_;
  bool alone_;
};

std::int64_t value_of(const Dataset& dataset, std::int64_t row) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(dataset.seq_len())), labels(ids.size());
  dataset.read_row(row, ids, labels);
  EXPECT_EQ(ids[0], labels[0]);
  return ids[0];
}

std::vector<std::int64_t> values_of(const Dataset& dataset) {
  std::vector<std::int64_t> values;
  for (std::int64_t row = 0; row < dataset.num_rows(); ++row) values.push_back(value_of(dataset, row));
  return values;
}

std::vector<std::int64_t> range(std::int64_t first, std::int64_t count) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), first);
  return values;
}

TEST(SplitDataset, HoldsOutTheEndOfAText) {
  const auto split = split_dataset(std::make_unique<NumberedDataset>(0, 100), 0.1);
  EXPECT_EQ(values_of(*split.train), range(0, 90));
  EXPECT_EQ(values_of(*split.held_out), range(90, 10));
  EXPECT_NE(split.train->fingerprint(), split.held_out->fingerprint());
}

TEST(SplitDataset, HoldsOutRandomRowsThatStandAloneTheSameOnesEveryTime) {
  const auto split = split_dataset(std::make_unique<NumberedDataset>(0, 1000, 4, true), 0.2);
  const auto train = values_of(*split.train), held = values_of(*split.held_out);
  EXPECT_EQ(held.size(), 200U);
  std::set<std::int64_t> all(train.begin(), train.end());
  all.insert(held.begin(), held.end());
  EXPECT_EQ(all.size(), 1000U);
  const auto late = std::ranges::count_if(held, [](auto value) { return value >= 500; });
  EXPECT_GT(late, 60);
  EXPECT_LT(late, 140);
  EXPECT_EQ(values_of(*split_dataset(std::make_unique<NumberedDataset>(0, 1000, 4, true), 0.2).held_out), held);
}

TEST(SplitDataset, LeavesAtLeastOneRowOnEachSide) {
  EXPECT_EQ(split_dataset(std::make_unique<NumberedDataset>(0, 3), 0.001).held_out->num_rows(), 1);
  EXPECT_EQ(split_dataset(std::make_unique<NumberedDataset>(0, 3), 0.999).train->num_rows(), 1);
  EXPECT_THROW(split_dataset(std::make_unique<NumberedDataset>(0, 1), 0.5), ConfigError);
}

std::unique_ptr<Dataset> joined(double weight_a, double weight_b, std::int64_t rows_a = 7, std::int64_t rows_b = 50) {
  return join_datasets({{std::make_shared<NumberedDataset>(0, rows_a), weight_a},
                        {std::make_shared<NumberedDataset>(1000, rows_b), weight_b}});
}

TEST(JoinedDataset, WithoutWeightsHoldsAllRowsInOrder) {
  auto expected = range(0, 7);
  for (const auto value : range(1000, 50)) expected.push_back(value);
  const auto dataset = joined(0, 0);
  EXPECT_EQ(values_of(*dataset), expected);
  EXPECT_EQ(dataset->max_id(), 1049);
  for (std::uint64_t place = 0; place < 120; ++place)
    EXPECT_EQ(dataset->row_at(place, {.shuffle = false}), static_cast<std::int64_t>(place % 57));
}

TEST(JoinedDataset, WeightsAreSharesOfWhatTrainingSees) {
  const auto dataset = joined(3, 1);
  for (const bool shuffle : {false, true}) {
    std::map<bool, int> counts;
    for (std::uint64_t place = 0; place < 2000; ++place)
      ++counts[dataset->row_at(place, {.shuffle = shuffle, .seed = 5}) < 7];
    EXPECT_EQ(counts[true], 1500) << shuffle;
    EXPECT_EQ(counts[false], 500) << shuffle;
  }
}

TEST(JoinedDataset, EverySetGoesThroughItsOwnEpochs) {
  const auto dataset = joined(0.7, 0.3, 7, 300);
  std::map<std::int64_t, int> seen;
  for (std::uint64_t place = 0; place < 1000; ++place) ++seen[dataset->row_at(place, {.shuffle = true, .seed = 2})];
  EXPECT_EQ(seen.size(), 307U);
  for (const auto& [row, count] : seen) EXPECT_EQ(count, row < 7 ? 100 : 1) << row;
}

TEST(JoinedDataset, UnshuffledInterleavesEvenly) {
  const auto dataset = joined(1, 1);
  for (std::uint64_t place = 0; place < 40; place += 2) {
    const bool first = dataset->row_at(place, {.shuffle = false}) < 7;
    const bool second = dataset->row_at(place + 1, {.shuffle = false}) < 7;
    EXPECT_NE(first, second) << place;
  }
}

TEST(JoinedDataset, RareSetsAreNotForgotten) {
  const auto dataset = joined(1e-9, 1);
  int rare = 0;
  for (std::uint64_t place = 0; place < 1000; ++place) rare += dataset->row_at(place, {}) < 7;
  EXPECT_EQ(rare, 1);
}

TEST(JoinedDataset, ResumesAtAnyPlace) {
  const auto dataset = joined(0.35, 0.65);
  Loader walked(*dataset, {.micro_batch_size = 3, .seed = 9});
  for (std::int64_t k = 0; k < 400; ++k) {
    Loader resumed(*dataset, {.micro_batch_size = 3, .seed = 9});
    resumed.seek(k);
    ASSERT_EQ(resumed.next().input_ids, walked.next().input_ids) << k;
  }
}

TEST(JoinedDataset, RefusesHalfGivenWeightsAndUnequalRows) {
  EXPECT_THROW(joined(1, 0), ConfigError);
  EXPECT_THROW(
      join_datasets({{std::make_shared<NumberedDataset>(0, 2, 4), 0}, {std::make_shared<NumberedDataset>(0, 2, 5), 0}}),
      ConfigError);
}

TEST(PaddedDataset, AddsWhatIsNoTarget) {
  const auto dataset = pad_dataset(std::make_unique<NumberedDataset>(5, 2, 3), 5);
  std::vector<std::int64_t> ids(5), labels(5);
  dataset->read_row(1, ids, labels);
  EXPECT_EQ(ids, (std::vector<std::int64_t>{6, 6, 6, 0, 0}));
  EXPECT_EQ(labels, (std::vector<std::int64_t>{6, 6, 6, kIgnoreLabel, kIgnoreLabel}));
}

}  // namespace
}  // namespace sluice::data
