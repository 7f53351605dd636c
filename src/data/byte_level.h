// The printable alphabet in which byte-level tokenizers write the 256 bytes (radford/gpt-2): 0x21-7E, A1-AC and AE-FF
// stand for themselves, the other 68 bytes follow in ascending order from U+0100.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace sluice::data {

/// Each byte of `bytes` as its character, in UTF-8.
std::string to_byte_alphabet(std::string_view bytes);

/// The bytes that `text` stands for; absent when it has a character outside the alphabet.
std::optional<std::string> from_byte_alphabet(std::string_view text);

}  // namespace sluice::data
