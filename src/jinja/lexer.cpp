#include "jinja/lexer.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace sluice::jinja {
namespace {

constexpr std::string_view kSpace = " \t\n\r\f\v";
// Longer ones first.
constexpr std::array<std::string_view, 27> kOperators = {"//", "**", "==", "!=", "<=", ">=", "+", "-", "*",
                                                         "/",  "%",  "~",  "<",  ">",  "=",  ".", ":", "|",
                                                         ",",  ";",  "(",  ")",  "[",  "]",  "{", "}", "@"};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

std::string normalized(std::string_view source) {
  std::string text;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    text += source[i] == '\r' ? '\n' : source[i];
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

void append_code(std::string& text, unsigned long code) {
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else if (code < 0x800) {
    text += static_cast<char>(0xC0 | (code >> 6));
    text += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    text += static_cast<char>(0xE0 | (code >> 12));
    text += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    text += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    text += static_cast<char>(0xF0 | (code >> 18));
    text += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    text += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    text += static_cast<char>(0x80 | (code & 0x3F));
  }
}

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& origin) : text_(normalized(source)), origin_(origin) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) {
      const std::size_t tag = next_tag();
      data(tag);
      if (tag == std::string::npos) break;
      advance(tag + 2);
      const char kind = text_[tag + 1];
      const bool signed_begin = at_ < text_.size() && (text_[at_] == '-' || text_[at_] == '+');
      if (kind == '#') {
        comment();
      } else {
        if (signed_begin) advance(at_ + 1);
        if (kind == '{') {
          tag_tokens(TokenKind::OutputBegin, TokenKind::OutputEnd, "}}");
        } else if (!raw_block()) {
          tag_tokens(TokenKind::BlockBegin, TokenKind::BlockEnd, "%}");
        }
      }
    }
    push(TokenKind::End, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const { fail(origin_, line_, what); }

  void push(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  void advance(std::size_t to) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         text_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }

  std::size_t next_tag() const {
    for (std::size_t at = text_.find('{', at_); at != std::string::npos && at + 1 < text_.size();
         at = text_.find('{', at + 1))
      if (text_[at + 1] == '{' || text_[at + 1] == '%' || text_[at + 1] == '#') return at;
    return std::string::npos;
  }

  // Text before a tag (or the end), less what the tag's sign or lstrip_blocks takes from it.
  void data(std::size_t tag) {
    const std::size_t end = std::min(tag, text_.size());
    std::string_view part = std::string_view(text_).substr(at_, end - at_);
    const bool at_line_start = at_ == 0 || text_[at_ - 1] == '\n';
    if (tag != std::string::npos) part = stripped(part, tag, at_line_start);
    if (!part.empty()) push(TokenKind::Data, std::string(part));
    advance(end);
  }

  std::string_view stripped(std::string_view part, std::size_t tag, bool at_line_start) const {
    const char sign = tag + 2 < text_.size() ? text_[tag + 2] : '\0';
    if (sign == '-') return part.substr(0, part.find_last_not_of(kSpace) + 1);
    if (sign == '+' || text_[tag + 1] == '{') return part;
    const std::size_t line = part.rfind('\n') + 1;
    const bool blank = line < part.size() && part.find_first_not_of(kSpace, line) == std::string_view::npos;
    return blank && (line > 0 || at_line_start) ? part.substr(0, line) : part;
  }

  // Behind the closing mark `mark` at at_: what its sign or trim_blocks takes.
  void close(std::string_view mark, char sign, bool trims) {
    advance(at_ + mark.size());
    if (sign == '-') {
      advance(std::min(text_.find_first_not_of(kSpace, at_), text_.size()));
    } else if (sign != '+' && trims && at_ < text_.size() && text_[at_] == '\n') {
      advance(at_ + 1);
    }
  }

  void comment() {
    const std::size_t end = text_.find("#}", at_);
    if (end == std::string::npos) refuse("a comment is not closed");
    const char sign = end > at_ ? text_[end - 1] : '\0';
    advance(end);
    close("#}", sign, true);
  }

  void skip_space() { advance(std::min(text_.find_first_not_of(kSpace, at_), text_.size())); }

  // {% raw %} ... {% endraw %}: its content is text.
  bool raw_block() {
    const std::size_t start = text_.find_first_not_of(kSpace, at_);
    if (start == std::string::npos || text_.compare(start, 3, "raw") != 0) return false;
    std::size_t mark = text_.find_first_not_of(kSpace, start + 3);
    if (mark == std::string::npos) return false;
    const char sign = text_[mark] == '-' || text_[mark] == '+' ? text_[mark++] : '\0';
    if (text_.compare(mark, 2, "%}") != 0) return false;
    advance(mark);
    close("%}", sign, true);
    for (std::size_t tag = text_.find("{%", at_); tag != std::string::npos; tag = text_.find("{%", tag + 2)) {
      std::size_t word = tag + 2;
      if (word < text_.size() && (text_[word] == '-' || text_[word] == '+')) ++word;
      word = text_.find_first_not_of(kSpace, word);
      if (word == std::string::npos || text_.compare(word, 6, "endraw") != 0) continue;
      mark = text_.find_first_not_of(kSpace, word + 6);
      if (mark == std::string::npos) break;
      const char end_sign = text_[mark] == '-' || text_[mark] == '+' ? text_[mark++] : '\0';
      if (text_.compare(mark, 2, "%}") != 0) continue;
      data(tag);
      advance(mark);
      close("%}", end_sign, true);
      return true;
    }
    refuse("{% raw %} is not closed");
  }

  void tag_tokens(TokenKind begin, TokenKind end, std::string_view mark) {
    push(begin, "");
    std::string open;  // brackets that are open: inside of them }} does not close the tag
    while (true) {
      skip_space();
      if (at_ >= text_.size()) refuse("a tag is not closed: expected " + std::string(mark));
      if (open.empty()) {
        const char sign = text_[at_];
        const bool is_signed = sign == '-' || (sign == '+' && mark == "%}");
        if (is_signed && text_.compare(at_ + 1, 2, mark) == 0) {
          push(end, "");
          advance(at_ + 1);
          return close(mark, sign, true);
        }
        if (text_.compare(at_, 2, mark) == 0) {
          push(end, "");
          return close(mark, '\0', mark == "%}");
        }
      }
      token(open);
    }
  }

  void token(std::string& open) {
    const char c = text_[at_];
    if (c == '"' || c == '\'') return text_token(c);
    if (is_digit(c)) return number();
    if (is_word(c)) {
      std::size_t end = at_;
      while (end < text_.size() && is_word(text_[end])) ++end;
      push(TokenKind::Name, text_.substr(at_, end - at_));
      return advance(end);
    }
    for (const std::string_view mark : kOperators) {
      if (text_.compare(at_, mark.size(), mark) != 0) continue;
      balance(mark[0], open);
      push(TokenKind::Operator, std::string(mark));
      return advance(at_ + mark.size());
    }
    refuse(std::string("unexpected character '") + c + "'");
  }

  void balance(char mark, std::string& open) const {
    if (mark == '(') open += ')';
    if (mark == '[') open += ']';
    if (mark == '{') open += '}';
    if (mark != ')' && mark != ']' && mark != '}') return;
    if (open.empty() || open.back() != mark) refuse(std::string("unexpected '") + mark + "'");
    open.pop_back();
  }

  void number() {
    std::size_t end = at_;
    std::string digits;
    const auto take = [&] {
      for (; end < text_.size() && (is_digit(text_[end]) || text_[end] == '_'); ++end)
        if (text_[end] != '_') digits += text_[end];
    };
    take();
    TokenKind kind = TokenKind::Integer;
    if (end + 1 < text_.size() && text_[end] == '.' && is_digit(text_[end + 1])) {
      kind = TokenKind::Float;
      digits += text_[end++];
      take();
    }
    if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      std::size_t exponent = end + 1;
      if (exponent < text_.size() && (text_[exponent] == '+' || text_[exponent] == '-')) ++exponent;
      if (exponent < text_.size() && is_digit(text_[exponent])) {
        kind = TokenKind::Float;
        digits += text_.substr(end, exponent - end);
        end = exponent;
        take();
      }
    }
    push(kind, digits);
    advance(end);
  }

  void text_token(char quote) {
    std::string value;
    std::size_t at = at_ + 1;
    for (; at < text_.size() && text_[at] != quote; ++at) {
      if (text_[at] != '\\' || at + 1 >= text_.size()) {
        value += text_[at];
      } else {
        ++at;
        escape(value, at);
      }
    }
    if (at >= text_.size()) refuse("a text is not closed");
    push(TokenKind::Text, value);
    advance(at + 1);
  }

  // Python's escapes; `at` stands on the character behind the backslash and ends on the last one used.
  void escape(std::string& value, std::size_t& at) const {
    constexpr std::string_view kLetters = "nrtabfv\\'\"";
    constexpr std::string_view kMeanings = "\n\r\t\a\b\f\v\\'\"";
    const char c = text_[at];
    if (const auto found = kLetters.find(c); found != std::string_view::npos) {
      value += kMeanings[found];
      return;
    }
    if (c == '\n') return;
    const std::size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits == 0 && (c < '0' || c > '7')) {
      value += '\\';
      value += c;
      return;
    }
    unsigned long code = 0;
    if (digits == 0) {
      std::size_t end = at;
      while (end < text_.size() && end < at + 3 && text_[end] >= '0' && text_[end] <= '7')
        code = code * 8 + static_cast<unsigned long>(text_[end++] - '0');
      at = end - 1;
    } else {
      const std::string hex = text_.substr(at + 1, digits);
      if (hex.size() != digits || hex.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
        refuse("a text holds a broken escape");
      code = std::stoul(hex, nullptr, 16);
      at += digits;
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) refuse("a text holds an escape that is no character");
    append_code(value, code);
  }

  std::string text_;
  const std::string& origin_;
  std::size_t at_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source, const std::string& origin) { return Lexer(source, origin).run(); }

void fail(const std::string& origin, int line, const std::string& what, const std::string& expected) {
  throw FormatError("data.chat_template", origin + " line " + std::to_string(line) + ": " + what, expected,
                    "correct the template or give another one with --chat-template");
}

}  // namespace sluice::jinja
