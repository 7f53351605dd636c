// What huggingface/tokenizers 0.23 and the Unicode libraries of Debian 12 (PCRE2 10.42, utf8proc 2.8) see differently,
// because their editions of Unicode differ. Found by comparing every code point.
#pragma once
#include <optional>
#include <string_view>

namespace sluice::data {

/// Members of a general category ("L", "Lu") that PCRE2 10.42 does not know yet, as ranges for a set of a pattern; may
/// be empty.
std::string_view newer_members(std::string_view category);

/// Numeric characters that utf8proc does not know yet.
bool is_newer_numeric(char32_t code_point);

/// Lower case that utf8proc does not know yet.
std::optional<char32_t> newer_lowercase(char32_t code_point);

/// Characters that utf8proc decomposes (in the compatibility forms) and tokenizers leaves alone.
bool is_newer_decomposable(char32_t code_point);

}  // namespace sluice::data
