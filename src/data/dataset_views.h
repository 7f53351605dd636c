// Data sets made of others: a part split off for validation, several files as one with weights, rows padded to a common
// length. All keep their sources alive and read nothing ahead.
#pragma once
#include <memory>
#include <vector>

#include "data/dataset.h"

namespace sluice::data {

struct SplitDataset {
  std::unique_ptr<Dataset> train;
  std::unique_ptr<Dataset> held_out;
};

/// Splits off `fraction` (0 ... 1) of the rows for validation, at least one. Of a text these are its last rows; rows
/// that stand alone are drawn at random, the same ones for every run. Throws ConfigError for fewer than two rows.
SplitDataset split_dataset(std::unique_ptr<Dataset> dataset, double fraction);

struct WeightedDataset {
  std::shared_ptr<const Dataset> dataset;
  double weight = 0;  ///< share of the rows that training sees, relative to the others; all 0: as many as there are
};

/// Rows of all sets, one behind the other. With weights, `row_at` interleaves: of every 1000 places each set gets its
/// share (rounded, at least one), evenly spread or permuted by the seed, and goes through its own epochs. Throws
/// ConfigError when rows differ in length or only some weights are given.
std::unique_ptr<Dataset> join_datasets(std::vector<WeightedDataset> parts);

/// Rows of `seq_len` tokens (not fewer than they have): padding with id 0 on the right, labelled kIgnoreLabel.
std::unique_ptr<Dataset> pad_dataset(std::unique_ptr<Dataset> dataset, std::int64_t seq_len);

}  // namespace sluice::data
