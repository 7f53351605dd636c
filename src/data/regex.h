// A regular expression of a tokenizer file, matched as the engine behind huggingface/tokenizers (Oniguruma, Ruby
// syntax) matches it, on PCRE2. What the two understand differently is rewritten or refused.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace sluice::data {

struct Match {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// Immutable; may be used from several threads at once.
class Regex {
 public:
  /// Throws FormatError for a pattern that does not compile or uses what is not the same in both engines.
  explicit Regex(std::string_view pattern);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  /// All matches from left to right, none overlapping; an empty match right after the previous match is skipped. `text`
  /// must be well-formed UTF-8. Throws FormatError when the pattern needs too many steps.
  void for_each_match(std::string_view text, const std::function<void(Match)>& visit) const;

 private:
  struct Code;
  std::unique_ptr<Code> code_;
};

/// The same pattern in PCRE2's words.
std::string translate_pattern(std::string_view pattern);

/// A pattern that matches exactly `text`.
std::string quote_pattern(std::string_view text);

}  // namespace sluice::data
