// A model from scratch takes its vocabulary from the tokenizer that it will be trained with.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "format/gguf_tokenizer.h"
#include "format/model_config.h"

namespace sluice::format {

/// The special tokens that config.json names; absent: the tokenizer has none.
struct VocabularyIds {
  std::int64_t vocab_size = 0;
  std::optional<std::int64_t> bos;
  std::optional<std::int64_t> eos;
};

/// `config` with this vocabulary: vocab_size and the bos, eos and pad ids, in its fields and in its JSON text.
ModelConfig with_vocabulary(const ModelConfig& config, const VocabularyIds& ids);

/// Name and text of each file of a tokenizer.
using NamedTexts = std::vector<std::pair<std::string, std::string>>;

/// The tokenizer files of a folder (byte for byte), of a tokenizer.json with what lies beside it, or of a FILE.gguf.
NamedTexts read_tokenizer_files(const std::filesystem::path& source);
NamedTexts named_texts(const TokenizerFiles& files);

}  // namespace sluice::format
