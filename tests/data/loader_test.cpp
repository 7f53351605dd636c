#include "data/loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "base/error.h"
#include "data/permutation.h"

namespace sluice::data {
namespace {

// Row r is r, r, ..., with the first `r % seq_len` labels ignored.
class CountingDataset final : public Dataset {
 public:
  CountingDataset(std::int64_t num_rows, std::int64_t seq_len) : num_rows_(num_rows), seq_len_(seq_len) {}
  std::int64_t num_rows() const override { return num_rows_; }
  std::int64_t seq_len() const override { return seq_len_; }
  void read_row(std::int64_t row, std::span<std::int64_t> ids, std::span<std::int64_t> labels) const override {
    std::fill(ids.begin(), ids.end(), row);
    std::fill(labels.begin(), labels.end(), row);
    std::fill_n(labels.begin(), row % seq_len_, kIgnoreLabel);
  }
  std::string fingerprint() const override { return ""; }
  std::string summary() const override { return ""; }
  std::int64_t max_id() const override { return num_rows_; }

 private:
  std::int64_t num_rows_, seq_len_;
};

std::vector<std::int64_t> rows_of(const Batch& batch) {
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < batch.rows; ++i)
    rows.push_back(batch.input_ids[static_cast<std::size_t>(i * batch.seq_len)]);
  return rows;
}

TEST(Permutation, IsABijectionForEverySize) {
  for (std::uint64_t size = 1; size <= 300; ++size) {
    std::set<std::uint64_t> seen;
    for (std::uint64_t i = 0; i < size; ++i) {
      const auto to = Permutation{7, size, size}(i);
      ASSERT_LT(to, size);
      ASSERT_TRUE(seen.insert(to).second) << size;
    }
  }
}

TEST(Permutation, HandlesHugeSizes) {
  const std::uint64_t size = (std::uint64_t{1} << 62) - 3;
  std::set<std::uint64_t> seen;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const auto to = Permutation{1, 0, size}(size - 1 - i);
    EXPECT_LT(to, size);
    EXPECT_TRUE(seen.insert(to).second);
  }
}

TEST(Permutation, DependsOnSeedAndEpoch) {
  std::set<std::vector<std::uint64_t>> orders;
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    for (std::uint64_t epoch = 0; epoch < 4; ++epoch) {
      std::vector<std::uint64_t> order;
      for (std::uint64_t i = 0; i < 50; ++i) order.push_back(Permutation{seed, epoch, 50}(i));
      orders.insert(order);
    }
  EXPECT_EQ(orders.size(), 16U);
}

TEST(Permutation, SpreadsEveryIndexEvenly) {
  constexpr std::uint64_t kSize = 10;
  constexpr int kEpochs = 20000;
  for (std::uint64_t index : {0, 9}) {
    std::vector<int> counts(kSize);
    for (std::uint64_t epoch = 0; epoch < kEpochs; ++epoch) ++counts[Permutation{3, epoch, kSize}(index)];
    for (const int count : counts) EXPECT_NEAR(count, kEpochs / 10, 200);  // 4.7 standard deviations
  }
}

TEST(Loader, UnshuffledRowsFollowTheFileAndWrap) {
  const CountingDataset dataset(5, 4);
  Loader loader(dataset, {.micro_batch_size = 2, .shuffle = false});
  EXPECT_EQ(loader.micro_batches_per_epoch(), 3);
  EXPECT_EQ(rows_of(loader.next()), (std::vector<std::int64_t>{0, 1}));
  EXPECT_EQ(rows_of(loader.next()), (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(rows_of(loader.next()), (std::vector<std::int64_t>{4, 0}));
  EXPECT_EQ(rows_of(loader.next()), (std::vector<std::int64_t>{1, 2}));
}

TEST(Loader, EveryEpochHoldsEveryRowOnce) {
  const CountingDataset dataset(17, 4);
  for (const std::int64_t size : {1, 3, 17, 20}) {
    Loader loader(dataset, {.micro_batch_size = size, .shuffle = true, .seed = 5});
    std::vector<std::int64_t> rows;
    while (rows.size() < 17 * 3)
      for (const auto row : rows_of(loader.next())) rows.push_back(row);
    for (int epoch = 0; epoch < 3; ++epoch) {
      std::vector<std::int64_t> part(rows.begin() + epoch * 17, rows.begin() + (epoch + 1) * 17);
      std::sort(part.begin(), part.end());
      std::vector<std::int64_t> all(17);
      std::iota(all.begin(), all.end(), 0);
      EXPECT_EQ(part, all);
    }
  }
}

TEST(Loader, SeekEqualsHavingCalledNext) {
  const CountingDataset dataset(7, 4);
  Loader walked(dataset, {.micro_batch_size = 3, .seed = 9});
  for (std::int64_t k = 0; k < 20; ++k) {
    Loader resumed(dataset, {.micro_batch_size = 3, .seed = 9});
    resumed.seek(k);
    EXPECT_EQ(walked.position(), k);
    const Batch expected = walked.next(), got = resumed.next();
    EXPECT_EQ(got.input_ids, expected.input_ids);
    EXPECT_EQ(got.labels, expected.labels);
    EXPECT_EQ(got.num_targets, expected.num_targets);
  }
}

TEST(Loader, CountsTargetsAfterTheShift) {
  const CountingDataset dataset(4, 4);
  Loader loader(dataset, {.micro_batch_size = 4, .shuffle = false});
  EXPECT_EQ(loader.next().num_targets, 3 + 3 + 2 + 1);  // the first label of a row is never a target
}

TEST(Loader, RefusesEmptyMicroBatches) {
  const CountingDataset dataset(4, 4);
  EXPECT_THROW(Loader(dataset, {.micro_batch_size = 0}), ConfigError);
}

}  // namespace
}  // namespace sluice::data
