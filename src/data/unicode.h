// UTF-8 and Unicode as the Rust standard library sees them, because huggingface/tokenizers is written on it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::data {

/// Offset of the first byte that is not part of well-formed UTF-8 (surrogates and overlong forms are not); absent when
/// all is.
std::optional<std::size_t> find_invalid_utf8(std::string_view text);

/// Throws FormatError naming line and byte when `text` is not UTF-8. `what` says whose text it is.
void require_utf8(std::string_view text, std::string_view what);

/// Length in bytes of the character that starts at `offset`. `text` must be well-formed UTF-8.
std::size_t char_length(std::string_view text, std::size_t offset);

/// Code point that starts at `offset`. `text` must be well-formed UTF-8.
char32_t char_at(std::string_view text, std::size_t offset);

void append_utf8(std::string& text, char32_t code_point);

/// Replaces each maximal ill-formed part by U+FFFD (Unicode 15, section 3.9, "substitution of maximal subparts").
std::string repair_utf8(std::string_view bytes);

/// The property White_Space.
bool is_white_space(char32_t code_point);

/// General category N (numeric): Nd, Nl, No.
bool is_numeric(char32_t code_point);

enum class NormalForm { C, D, KC, KD };
std::string normalize(std::string_view text, NormalForm form);

/// Lower case of every character by itself, without looking at its neighbours.
std::string lowercase(std::string_view text);

}  // namespace sluice::data
