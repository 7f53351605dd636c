// Examples as rows: each is one row, cut or padded to a common length, its assistant's words the targets. The encoded
// examples are kept in a cache; rows are read from there.
#pragma once
#include <memory>

#include "data/dataset.h"

namespace sluice::data {

/// By the keys of the first record of a JSON-lines file or of a JSON array.
bool recognises_chat(const std::filesystem::path& path);
bool recognises_sharegpt(const std::filesystem::path& path);
bool recognises_alpaca(const std::filesystem::path& path);
bool recognises_completion(const std::filesystem::path& path);

/// Rows have `seq_len` tokens, or fewer when the longest example leaves room: the next multiple of 64. Longer examples
/// are cut at the end, examples without a target are left out; both are counted in one warning each. Nothing is packed:
/// attention would see the neighbour. Throws FormatError naming the record that is malformed.
std::unique_ptr<Dataset> open_chat(const DatasetOptions& options);
std::unique_ptr<Dataset> open_sharegpt(const DatasetOptions& options);
std::unique_ptr<Dataset> open_alpaca(const DatasetOptions& options);
std::unique_ptr<Dataset> open_completion(const DatasetOptions& options);

}  // namespace sluice::data
