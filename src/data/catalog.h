// The kinds of tokenizer and of data set, one row each (`sluice list tokenizers|datasets`). A new kind is one file and
// one row in catalog.cpp.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/catalog.h"
#include "data/dataset.h"
#include "data/documents.h"
#include "data/tokenizer.h"

namespace sluice::data {

/// Text of a tokenizer.json and what its companions say.
struct TokenizerSource {
  std::string json;       ///< empty for built-in tokenizers
  std::string where;      ///< path, for messages
  std::string eos_token;  ///< empty: not named
};

struct TokenizerMaker {
  std::string_view model_type;  ///< `model.type` in tokenizer.json; empty: never read from a file
  std::unique_ptr<Tokenizer> (*make)(const TokenizerSource& source);
  /// For rows that are chosen by name: the tokenizer.json for a text with these characters (sorted, each once).
  std::string (*build)(std::u32string_view characters) = nullptr;
  bool needs_text = false;  ///< `build` depends on the characters
};

struct DatasetMaker {
  bool (*recognises)(const std::filesystem::path& path);  ///< by content; rows are asked in order
  std::unique_ptr<Dataset> (*open)(const DatasetOptions& options);
  /// Hands over the documents of plain text; nullptr for formats that are none.
  void (*visit)(const std::filesystem::path& path, DocumentSink& sink) = nullptr;
};

std::span<const CatalogRow<TokenizerMaker>> tokenizer_rows();
std::span<const CatalogRow<DatasetMaker>> dataset_rows();

/// The row called `format`, or for "auto" the first that recognises `path`. Throws IoError (missing), ConfigError
/// (unknown name) and FormatError (nothing recognises it).
const CatalogRow<DatasetMaker>& find_dataset_row(const std::filesystem::path& path, const std::string& format);

}  // namespace sluice::data
