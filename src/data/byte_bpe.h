// The tokenizers of tokenizer.json files whose model is BPE (GPT-2, Llama 3, Qwen, SmolLM and their kin).
#pragma once
#include <memory>

#include "data/catalog.h"

namespace sluice::data {

/// Reads `source.json`. Throws FormatError when it is malformed or has a component that is not supported, by name.
std::unique_ptr<Tokenizer> make_byte_bpe(const TokenizerSource& source);

}  // namespace sluice::data
