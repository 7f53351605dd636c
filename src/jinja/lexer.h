// Template text to tokens, with jinja2's rules of white space around tags.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace sluice::jinja {

enum class TokenKind { Data, OutputBegin, OutputEnd, BlockBegin, BlockEnd, Name, Integer, Float, Text, Operator, End };

struct Token {
  TokenKind kind = TokenKind::End;
  std::string text;  ///< of Text: what it stands for; of the others: as written
  int line = 1;

  [[nodiscard]] bool is(TokenKind wanted, std::string_view wanted_text) const {
    return kind == wanted && text == wanted_text;
  }
  [[nodiscard]] bool is_operator(std::string_view wanted) const { return is(TokenKind::Operator, wanted); }
  [[nodiscard]] bool is_name(std::string_view wanted) const { return is(TokenKind::Name, wanted); }
};

/// The last token is End. trim_blocks and lstrip_blocks are on, one line break at the end of the source is dropped.
/// Throws FormatError naming `origin` and the line.
std::vector<Token> tokenize(std::string_view source, const std::string& origin);

/// The FormatError of everything in this folder: "[data.chat_template] ORIGIN line N: WHAT".
[[noreturn]] void fail(const std::string& origin, int line, const std::string& what, const std::string& expected = {});

}  // namespace sluice::jinja
