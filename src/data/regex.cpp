#include "data/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cctype>
#include <optional>
#include <utility>

#include "base/error.h"
#include "data/newer_unicode.h"
#include "data/unicode.h"

namespace sluice::data {
namespace {

// PCRE2's own \s lacks or adds characters against the property White_Space (U+180E), so the set is spelt out.
constexpr std::string_view kSpace =
    R"(\t-\r\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotSpace =
    R"(\x00-\x08\x0e-\x1f\x21-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e})"
    R"(\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
constexpr std::uint32_t kMatchLimit = 10'000'000;  // steps per match; the patterns in use need a few
constexpr std::size_t kPatternLimit = 16384;

[[noreturn]] void refuse(std::string_view pattern, std::string_view what) {
  throw FormatError("data.tokenizer",
                    "pattern is not understood: " + std::string(what) + " in '" + std::string(pattern) + "'", {},
                    "pre-tokenise the data with the Python tokenizer instead");
}

// One walk over the pattern; knows only what can differ between the engines.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape(false);
      } else if (c == '[') {
        bracket();
      } else if (c == '(') {
        group();
      } else if (c == '^' || c == '$') {
        out_ += c == '^' ? "(?m:^)" : "(?m:$)";  // Ruby's anchors are always those of lines
        ++at_;
      } else if (c == '{' && (peek(1) < '0' || peek(1) > '9')) {
        refuse(pattern_, "'{' without a number");
      } else if (c == '+' && repeats_interval()) {
        refuse(pattern_, "'+' after an interval, which repeats there and is possessive here");
      } else {
        out_ += c;
        ++at_;
      }
    }
    return std::move(out_);
  }

 private:
  [[nodiscard]] char peek(std::size_t ahead) const {
    return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0';
  }
  [[nodiscard]] bool repeats_interval() const {
    return at_ > 0 && pattern_[at_ - 1] == '}' && !out_.ends_with("\\}") && last_brace_end_ != at_;
  }

  void escape(bool in_class) {
    const char c = peek(1);
    if (c == 's' || c == 'S') {
      const std::string_view set = c == 's' ? kSpace : kNotSpace;
      out_ += in_class ? std::string(set) : "[" + std::string(set) + "]";
      at_ += 2;
    } else if (c == 'p' || c == 'P') {
      property(in_class);
    } else if (c == 'u') {
      hexadecimal(2, 4);
    } else if (c == 'x') {
      if (peek(2) == '{') {
        copy_until('}');
      } else {
        hexadecimal(2, 2);
      }
    } else if (std::string_view("dDnrtfvae").find(c) != std::string_view::npos ||
               (!in_class && std::string_view("Az").find(c) != std::string_view::npos)) {
      out_ += c == 'v' ? "\\x0b" : pattern_.substr(at_, 2);
      at_ += 2;
    } else if (static_cast<unsigned char>(c) < 0x80 && c != '\0' && !std::isalnum(static_cast<unsigned char>(c))) {
      out_ += pattern_.substr(at_, 2);
      at_ += 2;
    } else {
      refuse(pattern_, std::string("escape \\") + c);
    }
  }

  void property(bool in_class) {
    if (peek(2) != '{') refuse(pattern_, "\\p without braces");
    const auto end = pattern_.find('}', at_);
    const std::string_view newer =
        end == std::string_view::npos ? std::string_view() : newer_members(pattern_.substr(at_ + 3, end - at_ - 3));
    if (newer.empty()) {
      copy_until('}');
      return;
    }
    const bool negated = peek(1) == 'P';
    if (negated && in_class) refuse(pattern_, "\\P inside a set");
    out_ += in_class ? "" : negated ? "[^" : "[";
    out_ += "\\p" + std::string(pattern_.substr(at_ + 2, end - at_ - 1)) + std::string(newer) + (in_class ? "" : "]");
    at_ = end + 1;
    last_brace_end_ = at_;
  }

  void copy_until(char close) {
    const auto end = pattern_.find(close, at_);
    if (end == std::string_view::npos) refuse(pattern_, "an open brace");
    out_ += pattern_.substr(at_, end + 1 - at_);
    at_ = end + 1;
    last_brace_end_ = at_;
  }

  void hexadecimal(std::size_t skip, std::size_t digits) {
    const std::string_view code = pattern_.substr(at_).substr(0, skip + digits).substr(skip);
    if (code.size() != digits || code.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos)
      refuse(pattern_, "a short hexadecimal escape");
    out_ += "\\x{" + std::string(code) + "}";
    at_ += skip + digits;
  }

  void bracket() {
    out_ += '[';
    ++at_;
    if (peek(0) == '^') out_ += pattern_[at_++];
    if (peek(0) == ']') refuse(pattern_, "']' first in a set");
    while (peek(0) != ']') {
      if (at_ >= pattern_.size()) refuse(pattern_, "an open set");
      if (peek(0) == '[') refuse(pattern_, "a set inside a set");
      if (peek(0) == '&' && peek(1) == '&') refuse(pattern_, "an intersection of sets");
      if (peek(0) == '\\') {
        const bool is_set = std::string_view("sSpPdD").find(peek(1)) != std::string_view::npos;
        escape(true);
        if (is_set && peek(0) == '-' && peek(1) != ']') refuse(pattern_, "a range that begins with a set");
      } else {
        out_ += pattern_[at_++];
      }
    }
    out_ += ']';
    ++at_;
  }

  void group() {
    static constexpr std::string_view kKnown[] = {"(?:", "(?=",  "(?!",  "(?<=",  "(?<!",
                                                  "(?>", "(?i:", "(?i)", "(?-i:", "(?-i)"};
    if (peek(1) != '?') {
      if (peek(1) == '*') refuse(pattern_, "a verb");
      out_ += '(';
      ++at_;
      return;
    }
    for (const std::string_view known : kKnown) {
      if (!pattern_.substr(at_).starts_with(known)) continue;
      out_ += known;
      at_ += known.size();
      return;
    }
    refuse(pattern_, "group '" + std::string(pattern_.substr(at_, 4)) + "'");
  }

  std::string_view pattern_;
  std::string out_;
  std::size_t at_ = 0;
  std::size_t last_brace_end_ = static_cast<std::size_t>(-1);
};

struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  pcre2_match_context* context = nullptr;
  std::string pattern;
  ~Code() {
    pcre2_code_free(code);
    pcre2_match_context_free(context);
  }
};

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

Regex::Regex(std::string_view pattern) : code_(std::make_unique<Code>()) {
  if (pattern.size() > kPatternLimit) refuse(pattern.substr(0, 64), "more than 16384 bytes");
  code_->pattern = pattern;
  const std::string translated = translate_pattern(pattern);
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), &pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 64);
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context.get());
  if (code_->code == nullptr) {
    PCRE2_UCHAR message[160] = {};
    pcre2_get_error_message(error, message, sizeof message);
    refuse(pattern, reinterpret_cast<const char*>(message));
  }
  pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE);  // on failure matching falls back to the interpreter
  code_->context = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(code_->context, kMatchLimit);
  pcre2_set_heap_limit(code_->context, 64 * 1024);  // KiB
}

void Regex::for_each_match(std::string_view text, const std::function<void(Match)>& visit) const {
  const std::unique_ptr<pcre2_match_data, FreeMatchData> data(
      pcre2_match_data_create_from_pattern(code_->code, nullptr));
  std::size_t at = 0;
  std::optional<std::size_t> last_end;
  while (at <= text.size()) {
    const int count = pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                  PCRE2_NO_UTF_CHECK, data.get(), code_->context);
    if (count == PCRE2_ERROR_NOMATCH) return;
    if (count < 0) refuse(code_->pattern, "matching needs too many steps (PCRE2 error " + std::to_string(count) + ")");
    const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(data.get());
    const Match match{offsets[0], offsets[1]};
    if (match.begin == match.end && last_end == match.end) {
      at += at < text.size() ? char_length(text, at) : 1;
      continue;
    }
    at = match.end;
    last_end = match.end;
    visit(match);
  }
}

std::string translate_pattern(std::string_view pattern) { return Translator(pattern).run(); }

std::string quote_pattern(std::string_view text) {
  std::string quoted;
  for (const char c : text) {
    if (std::string_view(R"(\^$.|?*+()[]{}-#&~ )").find(c) != std::string_view::npos) quoted += '\\';
    quoted += c;
  }
  return quoted;
}

}  // namespace sluice::data
