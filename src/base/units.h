// Units in types, and their text forms. Used by every layer; holds no state.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

using Bytes = std::int64_t;
using Seconds = double;
using Flops = double;
using BytesPerSecond = double;

inline constexpr Bytes KiB = Bytes{1} << 10;
inline constexpr Bytes MiB = Bytes{1} << 20;
inline constexpr Bytes GiB = Bytes{1} << 30;

/// Smallest multiple of `alignment` (> 0) that is >= value (>= 0).
constexpr Bytes round_up(Bytes value, Bytes alignment) { return (value + alignment - 1) / alignment * alignment; }

/// "1.50 GiB", "384.0 MiB", "12 B": binary units, for people.
std::string format_bytes(Bytes bytes);

/// "95 ms", "12.3 s", "3 min 20 s", "2 h 05 min", for people.
std::string format_seconds(Seconds seconds);

/// Reads "512MiB", "3GiB", "1.5 GB", "4096": KiB.. are powers of two, KB.. powers of ten, a bare number is bytes.
/// Throws ConfigError when `text` is none of these; `what` names the setting in the message.
Bytes parse_bytes(std::string_view text, std::string_view what);

}  // namespace sluice
