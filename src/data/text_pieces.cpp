#include "data/text_pieces.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "data/block_reader.h"
#include "data/unicode.h"

namespace sluice::data {
namespace {

constexpr std::size_t kLineLimit = std::size_t{64} << 20;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool is_printed(char c) { return static_cast<unsigned char>(c) > ' ' && c != 0x7F; }

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Counts lines over all pieces so that a message can name a place in the file.
class Utf8Checker {
 public:
  explicit Utf8Checker(const std::filesystem::path& file) : file_(file) {}

  void check(std::string_view piece) {
    const auto bad = find_invalid_utf8(piece);
    const std::string_view good = piece.substr(0, bad.value_or(piece.size()));
    line_ += std::count(good.begin(), good.end(), '\n');
    offset_ += good.size();
    if (bad)
      throw FormatError("data", file_.string() + " is not text",
                        "expected UTF-8, got an invalid byte in line " + std::to_string(line_) + " at offset " +
                            std::to_string(offset_),
                        "convert it, for example with iconv -t UTF-8");
  }

 private:
  const std::filesystem::path& file_;
  std::int64_t line_ = 1;
  std::size_t offset_ = 0;
};

}  // namespace

std::size_t find_cut(std::string_view text) {
  const std::size_t from = std::max<std::size_t>(text.size() / 2, 1);
  for (std::size_t at = text.size() - 1; at-- > from;)
    if (text[at] == ' ' && is_letter(text[at - 1]) && is_letter(text[at + 1])) return at;
  for (std::size_t at = text.size() - 1; at-- > from;)
    if (text[at] == '\n' && is_printed(text[at - 1]) && is_printed(text[at + 1])) return at + 1;
  std::size_t at = text.size() - 1;
  while (at > from && is_continuation(text[at])) --at;
  return at;
}

std::uint64_t for_each_piece(const std::filesystem::path& file, std::size_t piece_bytes,
                             const std::function<void(std::string_view)>& visit) {
  BlockReader reader(file);
  Utf8Checker checker(file);
  std::string held;
  const auto hand_over = [&](std::size_t size) {
    const std::string_view piece = std::string_view(held).substr(0, size);
    checker.check(piece);
    visit(piece);
    held.erase(0, size);
  };
  for (std::string_view block = reader.next(); !block.empty(); block = reader.next()) {
    held += block;
    while (held.size() > piece_bytes + 4) hand_over(find_cut(std::string_view(held).substr(0, piece_bytes + 4)));
  }
  if (!held.empty()) hand_over(held.size());
  return reader.hash();
}

std::uint64_t for_each_line(const std::filesystem::path& file,
                            const std::function<void(std::string_view, std::int64_t)>& visit) {
  BlockReader reader(file);
  std::string held;
  std::int64_t number = 0;
  const auto hand_over = [&](std::string_view line) {
    ++number;
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) visit(line, number);
  };
  for (std::string_view block = reader.next(); !block.empty(); block = reader.next()) {
    std::size_t begin = 0;
    for (std::size_t end = block.find('\n'); end != std::string_view::npos; end = block.find('\n', begin)) {
      held += block.substr(begin, end - begin);
      hand_over(held);
      held.clear();
      begin = end + 1;
    }
    held += block.substr(begin);
    if (held.size() > kLineLimit)
      throw FormatError("data", "a line of " + file.string() + " is too long",
                        "expected at most 64 MiB, line " + std::to_string(number + 1) + " has more");
  }
  if (!held.empty()) hand_over(held);
  return reader.hash();
}

}  // namespace sluice::data
