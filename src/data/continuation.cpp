#include "data/continuation.h"

#include <string>

#include "base/error.h"
#include "data/unicode.h"

namespace sluice::data {
namespace {

// What Python's str.rstrip leaves; it counts the separators 1C to 1F as white space, too.
std::string_view without_trailing_space(std::string_view text) {
  while (!text.empty()) {
    std::size_t first = text.size() - 1;
    while (first > 0 && (static_cast<unsigned char>(text[first]) & 0xC0U) == 0x80U) --first;
    const char32_t last = char_at(text, first);
    if (!is_white_space(last) && (last < 0x1C || last > 0x1F)) break;
    text = text.substr(0, first);
  }
  return text;
}

}  // namespace

EncodedContinuation encode_continuation(const Tokenizer& tokenizer, std::string_view context,
                                        std::string_view continuation, const ContinuationOptions& options,
                                        std::string_view where) {
  require_utf8(context, where);
  require_utf8(continuation, where);
  const std::string_view kept = without_trailing_space(context);
  const std::string whole = std::string(context) + std::string(continuation);
  EncodedContinuation encoded;
  encoded.ids = tokenizer.encode(whole, {.add_special = false});
  if (!kept.empty())
    encoded.num_context = static_cast<std::int64_t>(tokenizer.encode(kept, {.add_special = false}).size());
  if (options.start && (options.add_start || encoded.num_context == 0)) {
    encoded.ids.insert(encoded.ids.begin(), *options.start);
    encoded.num_context += 1;
  }
  if (encoded.num_context == 0)
    throw FormatError("data.tasks", std::string(where) + " has no context",
                      "expected a text, as the tokenizer names no token that starts one");
  if (encoded.num_targets() < 1)
    throw FormatError("data.tasks", std::string(where) + " has no token to score",
                      "expected a continuation that adds tokens to its context");
  return encoded;
}

bool shorten_context(EncodedContinuation& encoded, std::int64_t max_tokens, std::string_view where) {
  const std::int64_t surplus = static_cast<std::int64_t>(encoded.ids.size()) - max_tokens;
  if (surplus <= 0) return false;
  if (surplus >= encoded.num_context)
    throw FormatError("data.tasks", std::string(where) + " is too long",
                      "expected a continuation of fewer than " + std::to_string(max_tokens) +
                          " tokens (the model's positions), got " + std::to_string(encoded.num_targets()));
  encoded.ids.erase(encoded.ids.begin(), encoded.ids.begin() + surplus);
  encoded.num_context -= surplus;
  return true;
}

}  // namespace sluice::data
