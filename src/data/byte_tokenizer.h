// The tokenizer without a file: one token per byte.
#pragma once
#include <memory>

#include "data/catalog.h"

namespace sluice::data {

/// 256 ids, the bytes themselves; no special tokens.
std::unique_ptr<Tokenizer> make_byte_tokenizer(const TokenizerSource& source);

}  // namespace sluice::data
