// The kinds of tokenizer and of data set, one row each (`sluice list tokenizers|datasets`). A new kind is one file and
// one row in catalog.cpp.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/catalog.h"
#include "data/dataset.h"
#include "data/tokenizer.h"

namespace sluice::data {

/// Text of a tokenizer.json and what its companions say.
struct TokenizerSource {
  std::string json;       ///< empty for built-in tokenizers
  std::string where;      ///< path, for messages
  std::string eos_token;  ///< empty: not named
};

struct TokenizerMaker {
  std::string_view model_type;  ///< `model.type` in tokenizer.json; empty for built-in tokenizers
  std::unique_ptr<Tokenizer> (*make)(const TokenizerSource& source);
};

struct DatasetMaker {
  bool (*recognises)(const std::filesystem::path& path);  ///< by content; rows are asked in order
  std::unique_ptr<Dataset> (*open)(const DatasetOptions& options);
};

std::span<const CatalogRow<TokenizerMaker>> tokenizer_rows();
std::span<const CatalogRow<DatasetMaker>> dataset_rows();

}  // namespace sluice::data
