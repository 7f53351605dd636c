// Long documents in pieces, so that a text larger than memory can be encoded. Where to cut: before the space between
// two words of ASCII letters. All pre-tokenizer patterns of the GPT-2 family begin a new word there, so the ids are
// those of the whole document. Without such a place in half a piece: after a lone line break between two printed
// characters; without that either: between any two characters. (Exception: added tokens with inner spaces are not seen
// across a cut.)
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string_view>

#include "base/units.h"

namespace sluice::data {

/// A document is encoded whole up to this size, and in pieces of about this size beyond.
inline constexpr std::size_t kPieceBytes = 4 << 20;

/// Where to end the first piece of `text` (more than one character): in the second half of it if that is possible.
std::size_t find_cut(std::string_view text);

/// Hands over the pieces of the file in order, all of them well-formed UTF-8. Throws FormatError naming line and offset
/// when the file is not. Returns the hash of the file's bytes.
std::uint64_t for_each_piece(const std::filesystem::path& file, std::size_t piece_bytes,
                             const std::function<void(std::string_view)>& visit);

/// Hands over the lines of the file without their ends, with their numbers (from 1); blank lines are left out. Throws
/// FormatError for a line of more than 64 MiB. Returns the hash of the file's bytes.
std::uint64_t for_each_line(const std::filesystem::path& file,
                            const std::function<void(std::string_view, std::int64_t)>& visit);

}  // namespace sluice::data
