// Text while its tokens come: pieces that are whole UTF-8 and together the text of all ids.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/tokenizer.h"

namespace sluice::train {

/// The tokenizer must outlive it.
class TextStream {
 public:
  /// Continues `prompt`: a decoder may treat a first token otherwise (its space).
  TextStream(const data::Tokenizer& tokenizer, std::span<const std::int32_t> prompt);
  /// What `id` adds to the text; empty while a character is incomplete.
  std::string add(std::int32_t id);
  /// What was held back; an incomplete character is U+FFFD, as the tokenizer decodes it.
  std::string finish();

 private:
  std::string new_text() const;

  const data::Tokenizer& tokenizer_;
  std::vector<std::int32_t> window_;  // context, whose text is out, then tokens whose text is not
  std::size_t context_ = 0;
};

}  // namespace sluice::train
