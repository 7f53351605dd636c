// The tokenizer inside a GGUF file as the files that Hugging Face tools read.
#pragma once
#include <string>

#include "format/gguf.h"

namespace sluice::format {

/// Texts of the files; `chat_template` is empty when there is none.
struct TokenizerFiles {
  std::string tokenizer_json;
  std::string tokenizer_config_json;
  std::string chat_template;
};

/// Whether the file has a tokenizer at all.
bool has_gguf_tokenizer(const GgufFile& file);

/// Byte-level BPE tokenizers (tokenizer.ggml.model "gpt2") whose pre-tokenizer is smollm, gpt-2, default, llama-bpe or
/// qwen2. Throws ConfigError naming any other kind, FormatError for tables that contradict each other.
TokenizerFiles gguf_tokenizer(const GgufFile& file);

}  // namespace sluice::format
