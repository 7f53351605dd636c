#include "data/byte_level.h"

#include <array>
#include <cstdint>

#include "data/unicode.h"

namespace sluice::data {
namespace {

struct Alphabet {
  std::array<std::string, 256> character_of;
  std::array<std::int16_t, 0x144> byte_of;  // the last character is U+0143

  Alphabet() {
    byte_of.fill(-1);
    char32_t next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      const char32_t character = printable ? byte : next++;
      append_utf8(character_of[byte], character);
      byte_of[character] = static_cast<std::int16_t>(byte);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

}  // namespace

std::string to_byte_alphabet(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char byte : bytes) text += alphabet().character_of[static_cast<unsigned char>(byte)];
  return text;
}

std::optional<std::string> from_byte_alphabet(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t at = 0; at < text.size(); at += char_length(text, at)) {
    const char32_t c = char_at(text, at);
    if (c >= alphabet().byte_of.size() || alphabet().byte_of[c] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(alphabet().byte_of[c]));
  }
  return bytes;
}

}  // namespace sluice::data
