// Python's operations on text, by code point. Bytes that are no UTF-8 count as one character each.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::jinja {

std::vector<std::string_view> characters(std::string_view text);

enum class Side { Left, Right, Both };
/// Removes characters of `set` (absent: white space) at the ends.
std::string strip(std::string_view text, Side side, std::optional<std::string_view> set = std::nullopt);

/// At white space without empty parts, or at every `separator` (not empty); at most `limit` cuts (below 0: all).
std::vector<std::string> split(std::string_view text, std::optional<std::string_view> separator, std::int64_t limit);
/// At `separator` (not empty) from the end.
std::vector<std::string> split_right(std::string_view text, std::string_view separator, std::int64_t limit);
std::vector<std::string> split_lines(std::string_view text);

/// The first `limit` (below 0: all) occurrences; throws std::length_error beyond `max_bytes`.
std::string replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t limit,
                    std::size_t max_bytes);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);

/// What strftime writes for local time.
std::string format_time(const std::string& format, std::int64_t seconds_since_epoch);

}  // namespace sluice::jinja
