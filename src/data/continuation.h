// Where a prompt ends and its continuation begins, in tokens, as lm-evaluation-harness sees it.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "data/tokenizer.h"

namespace sluice::data {

struct EncodedContinuation {
  std::vector<std::int32_t> ids;  ///< of the whole text
  std::int64_t num_context = 0;   ///< of them in front of the continuation, at least 1
  [[nodiscard]] std::int64_t num_targets() const { return static_cast<std::int64_t>(ids.size()) - num_context; }
};

struct ContinuationOptions {
  std::optional<std::int32_t> start;  ///< token in front of a text without context: BOS, else EOS
  bool add_start = false;             ///< in front of every text
};

/// White space at the context's end goes to the continuation; both are tokenised together, without the tokenizer's own
/// frame, and cut after as many tokens as the context has alone. Throws FormatError when nothing is left of the
/// continuation or nothing stands before it; `where` names the item.
EncodedContinuation encode_continuation(const Tokenizer& tokenizer, std::string_view context,
                                        std::string_view continuation, const ContinuationOptions& options,
                                        std::string_view where);

/// Drops tokens from the front until at most `max_tokens` are left; returns whether any was. Throws FormatError when
/// the continuation and one token before it are more than that.
bool shorten_context(EncodedContinuation& encoded, std::int64_t max_tokens, std::string_view where);

}  // namespace sluice::data
