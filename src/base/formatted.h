// printf into a string: the one place for figures in text.
#pragma once
#include <cstdarg>
#include <string>

namespace sluice {

/// As std::printf, of any length.
[[gnu::format(printf, 1, 2)]] std::string formatted(const char* format, ...);
[[gnu::format(printf, 1, 0)]] std::string vformatted(const char* format, std::va_list arguments);

}  // namespace sluice
