// Micro-batches in the order in which training sees them. The order is a pure function of the options and one counter,
// so the counter is all that a checkpoint keeps.
#pragma once
#include <cstdint>
#include <vector>

#include "data/dataset.h"

namespace sluice::data {

struct Batch {
  std::int64_t rows = 0;
  std::int64_t seq_len = 0;
  std::vector<std::int64_t> input_ids;  ///< [rows, seq_len]
  std::vector<std::int64_t> labels;     ///< [rows, seq_len], aligned with input_ids
  std::int64_t num_targets = 0;         ///< targets after the shift by one: labels[:, 1:] != kIgnoreLabel
};

struct LoaderOptions {
  std::int64_t micro_batch_size = 1;
  bool shuffle = true;
  std::uint64_t seed = 0;
};

/// Micro-batch k is places k*B ... k*B+B-1 of the endless sequence that the data set defines (Dataset::row_at). A
/// micro-batch may cross the end of an epoch. One thread at a time.
class Loader {
 public:
  /// `dataset` is borrowed and must outlive the loader. Throws ConfigError for a micro-batch size below 1.
  Loader(const Dataset& dataset, LoaderOptions options);
  /// The micro-batch at `position()`, which then advances by one.
  Batch next();
  /// Number of micro-batches handed out since the start of training: the whole cursor.
  std::int64_t position() const { return position_; }
  /// Continue as if `position` micro-batches had been handed out (>= 0).
  void seek(std::int64_t position);
  /// Micro-batches until every row has been seen once (rounded up).
  std::int64_t micro_batches_per_epoch() const;

 private:
  const Dataset& dataset_;
  LoaderOptions options_;
  std::int64_t position_ = 0;
};

}  // namespace sluice::data
