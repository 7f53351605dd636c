#include "data/loader.h"

#include "base/check.h"
#include "base/error.h"

namespace sluice::data {

Loader::Loader(const Dataset& dataset, LoaderOptions options) : dataset_(dataset), options_(options) {
  if (options.micro_batch_size < 1)
    throw ConfigError("data.loader", "bad micro-batch size",
                      "expected at least 1, got " + std::to_string(options.micro_batch_size));
}

Batch Loader::next() {
  const auto width = static_cast<std::size_t>(dataset_.seq_len());
  Batch batch;
  batch.rows = options_.micro_batch_size;
  batch.seq_len = dataset_.seq_len();
  batch.input_ids.resize(static_cast<std::size_t>(batch.rows) * width);
  batch.labels.resize(batch.input_ids.size());
  for (std::int64_t i = 0; i < batch.rows; ++i) {
    const auto place = static_cast<std::uint64_t>(position_ * batch.rows + i);
    const std::int64_t row = dataset_.row_at(place, {options_.shuffle, options_.seed});
    const std::size_t at = static_cast<std::size_t>(i) * width;
    const auto labels = std::span(batch.labels).subspan(at, width);
    dataset_.read_row(row, std::span(batch.input_ids).subspan(at, width), labels);
    for (const std::int64_t label : labels.subspan(1)) batch.num_targets += label != kIgnoreLabel;
  }
  ++position_;
  return batch;
}

void Loader::seek(std::int64_t position) {
  SLUICE_CHECK(position >= 0, "position ", position);
  position_ = position;
}

std::int64_t Loader::micro_batches_per_epoch() const {
  return (dataset_.num_rows() + options_.micro_batch_size - 1) / options_.micro_batch_size;
}

}  // namespace sluice::data
