// One token per character: the vocabulary is the sorted characters of the training text, as in nanoGPT's character
// data sets. Written as a tokenizer.json (model WordLevel) that huggingface/tokenizers reads with the same ids.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "data/catalog.h"

namespace sluice::data {

/// Throws FormatError unless the file is of the kind that `build_char_tokenizer` writes. Encoding a character that the
/// vocabulary lacks is a FormatError naming it, unless the vocabulary holds the unknown token.
std::unique_ptr<Tokenizer> make_char_tokenizer(const TokenizerSource& source);

/// The tokenizer.json of the given characters: sorted, each once; ids are their places.
std::string build_char_tokenizer(std::u32string_view characters);

}  // namespace sluice::data
