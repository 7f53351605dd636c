// Rows that were tokenised elsewhere: a safetensors file with input_ids [rows, seq], optional labels and
// attention_mask.
#pragma once
#include <memory>

#include "data/dataset.h"

namespace sluice::data {

bool recognises_tokenized(const std::filesystem::path& path);

/// Reads all rows once to check them: ids not negative, labels ids or kIgnoreLabel, masks ones and then zeros (padding
/// on the right; its labels become kIgnoreLabel). The file's row length wins over `seq_len`, with a warning.
std::unique_ptr<Dataset> open_tokenized(const DatasetOptions& options);

}  // namespace sluice::data
