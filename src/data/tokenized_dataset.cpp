#include "data/tokenized_dataset.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "data/block_reader.h"
#include "data/hex.h"
#include "format/safetensors.h"

namespace sluice::data {
namespace {

using format::StoredTensor;

// A [rows, seq] tensor of integers, read row by row.
class RowTensor {
 public:
  RowTensor(const format::SafetensorsFile& file, const StoredTensor& tensor) : file_(&file), tensor_(&tensor) {
    for (const auto& [dtype, bytes] : {std::pair{"I64", 8}, {"I32", 4}, {"U8", 1}, {"BOOL", 1}})
      if (tensor.dtype == dtype) width_ = bytes;
    if (width_ == 0 || tensor.shape.size() != 2)
      throw FormatError(
          "data.tokenized", tensor.name + " of " + file.name() + " is unsuitable",
          "expected integers [rows, seq], got " + tensor.dtype + " " + format::format_shape(tensor.shape));
  }

  void read(std::int64_t row, std::span<std::int64_t> values) const {
    bytes_.resize(values.size() * static_cast<std::size_t>(width_));
    file_->read(*tensor_, row * static_cast<Bytes>(bytes_.size()), bytes_);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = value(i);
  }

 private:
  [[nodiscard]] std::int64_t value(std::size_t index) const {
    const std::byte* source = bytes_.data() + index * static_cast<std::size_t>(width_);
    if (width_ == 1) return std::to_integer<std::int64_t>(*source);
    if (width_ == 4) {
      std::int32_t narrow = 0;
      std::memcpy(&narrow, source, sizeof narrow);
      return narrow;
    }
    std::int64_t wide = 0;
    std::memcpy(&wide, source, sizeof wide);
    return wide;
  }

  const format::SafetensorsFile* file_;
  const StoredTensor* tensor_;
  int width_ = 0;
  mutable std::vector<std::byte> bytes_;
};

class TokenizedDataset final : public Dataset {
 public:
  explicit TokenizedDataset(const std::filesystem::path& path) : file_(path) {
    const StoredTensor* ids = file_.find("input_ids");
    if (ids == nullptr)
      throw FormatError("data.tokenized", path.string() + " holds no training rows", "expected a tensor input_ids",
                        "is this a file of weights?");
    ids_.emplace(file_, *ids);
    num_rows_ = ids->shape[0];
    seq_len_ = ids->shape[1];
    labels_ = companion("labels", *ids);
    mask_ = companion("attention_mask", *ids);
    if (num_rows_ < 1 || seq_len_ < 2)
      throw FormatError("data.tokenized", path.string() + " is empty",
                        "expected rows of at least two tokens, got " + format::format_shape(ids->shape));
    scan();
  }

  std::int64_t num_rows() const override { return num_rows_; }
  std::int64_t seq_len() const override { return seq_len_; }
  std::int64_t max_id() const override { return max_id_; }
  std::string fingerprint() const override { return to_hex(hash_); }
  std::string summary() const override {
    return "tokenized: " + std::to_string(num_rows_) + " rows of " + std::to_string(seq_len_) + ", " +
           std::to_string(num_targets_) + " targets, " + std::to_string(num_padding_) + " padded";
  }

  void read_row(std::int64_t row, std::span<std::int64_t> input_ids, std::span<std::int64_t> labels) const override {
    ids_->read(row, input_ids);
    if (labels_) {
      labels_->read(row, labels);
    } else {
      std::copy(input_ids.begin(), input_ids.end(), labels.begin());
    }
    if (!mask_) return;
    mask_row_.resize(labels.size());
    mask_->read(row, mask_row_);
    for (std::size_t i = 0; i < labels.size(); ++i)
      if (mask_row_[i] == 0) labels[i] = kIgnoreLabel;
  }

 private:
  std::optional<RowTensor> companion(const char* name, const StoredTensor& ids) const {
    const StoredTensor* tensor = file_.find(name);
    if (tensor == nullptr) return std::nullopt;
    if (tensor->shape != ids.shape)
      throw FormatError("data.tokenized", std::string(name) + " of " + file_.name() + " does not fit input_ids",
                        "expected " + format::format_shape(ids.shape) + ", got " + format::format_shape(tensor->shape));
    return RowTensor(file_, *tensor);
  }

  void scan() {
    std::vector<std::int64_t> ids(static_cast<std::size_t>(seq_len_)), labels(ids.size());
    for (std::int64_t row = 0; row < num_rows_; ++row) {
      read_row(row, ids, labels);
      if (mask_) check_mask(row);
      for (std::size_t i = 0; i < ids.size(); ++i) {
        if (ids[i] < 0 || ids[i] > INT32_MAX) bad_value("input_ids", row, ids[i]);
        if (labels[i] != kIgnoreLabel && (labels[i] < 0 || labels[i] > INT32_MAX)) bad_value("labels", row, labels[i]);
        max_id_ = std::max({max_id_, ids[i], labels[i]});
        num_targets_ += i > 0 && labels[i] != kIgnoreLabel;
      }
      hash_ = mix(mix(hash_, checksum(std::as_bytes(std::span(ids)))), checksum(std::as_bytes(std::span(labels))));
    }
    if (num_targets_ == 0)
      throw FormatError("data.tokenized", file_.name() + " has nothing to learn", "every label is -100");
  }

  // Zeros may only follow ones: padding on the left would move the positions of what comes after it.
  void check_mask(std::int64_t row) {
    bool padding = false;
    for (const std::int64_t value : mask_row_) {
      if (value != 0 && value != 1) bad_value("attention_mask", row, value);
      if (value == 1 && padding)
        throw FormatError("data.tokenized",
                          "row " + std::to_string(row) + " of " + file_.name() + " is not padded on the right",
                          "expected ones and then zeros in attention_mask, got a one after a zero",
                          "tokenise with padding_side=\"right\"");
      padding = value == 0;
      num_padding_ += padding;
    }
  }

  [[noreturn]] void bad_value(const std::string& name, std::int64_t row, std::int64_t value) const {
    throw FormatError("data.tokenized",
                      name + " in row " + std::to_string(row) + " of " + file_.name() + " is out of range",
                      "got " + std::to_string(value));
  }

  format::SafetensorsFile file_;
  std::optional<RowTensor> ids_, labels_, mask_;
  std::int64_t num_rows_ = 0, seq_len_ = 0;
  std::int64_t max_id_ = 0, num_targets_ = 0, num_padding_ = 0;
  std::uint64_t hash_ = 0;
  mutable std::vector<std::int64_t> mask_row_;
};

}  // namespace

bool recognises_tokenized(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) return false;
  if (path.extension() == ".safetensors") return true;
  const std::string prefix = read_prefix(path, 9);
  std::uint64_t header = 0;
  if (prefix.size() < 9) return false;
  std::memcpy(&header, prefix.data(), sizeof header);
  return header <= 100'000'000 && prefix[8] == '{';
}

std::unique_ptr<Dataset> open_tokenized(const DatasetOptions& options) {
  auto dataset = std::make_unique<TokenizedDataset>(options.path);
  if (dataset->seq_len() != options.seq_len)
    log_warning("rows of " + options.path.string() + " have " + std::to_string(dataset->seq_len()) +
                " tokens; --seq-len " + std::to_string(options.seq_len) + " does not apply to pre-tokenised data");
  return dataset;
}

}  // namespace sluice::data
