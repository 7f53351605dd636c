// Tokenizers that are made for a text instead of read from a file: chosen by name for training from scratch, saved
// beside the model as files that huggingface/tokenizers reads with the same ids.
#pragma once
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "data/tokenizer.h"
#include "format/gguf_tokenizer.h"

namespace sluice::data {

struct BuiltTokenizer {
  std::unique_ptr<Tokenizer> tokenizer;
  format::TokenizerFiles files;
};

/// Whether `name` is a row of `tokenizer_rows()` that is built, and no file or folder of that name is there.
bool is_built_tokenizer(std::string_view name);

/// The tokenizer of the row `name` for the texts at `paths` (each of the given data format, "auto": by content). Reads
/// all of them once if the row needs to know their characters; throws what reading them throws, and ConfigError when
/// they are no plain text.
BuiltTokenizer build_tokenizer(std::string_view name, std::span<const std::filesystem::path> paths,
                               const std::string& format = "auto");

}  // namespace sluice::data
