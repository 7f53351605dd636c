// The tokenizer without a file: one token per byte.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "data/catalog.h"

namespace sluice::data {

/// 256 ids, the bytes themselves; no special tokens.
std::unique_ptr<Tokenizer> make_byte_tokenizer(const TokenizerSource& source);

/// The same ids as a tokenizer.json: byte-level BPE without merges.
std::string build_byte_tokenizer(std::u32string_view characters);

}  // namespace sluice::data
