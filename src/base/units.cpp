#include "base/units.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/formatted.h"

namespace sluice {

std::string format_bytes(Bytes bytes) {
  static constexpr std::array<const char*, 5> kNames = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (std::fabs(value) >= 1024.0 && unit + 1 < kNames.size()) {
    value /= 1024.0;
    ++unit;
  }
  return formatted(unit == 0 ? "%.0f %s" : (unit >= 3 ? "%.2f %s" : "%.1f %s"), value, kNames[unit]);
}

std::string format_seconds(Seconds seconds) {
  if (seconds < 1.0) return formatted("%.0f ms", seconds * 1e3);
  if (seconds < 60.0) return formatted("%.1f s", seconds);
  if (seconds < 3600.0) {
    const long whole = std::lround(seconds);
    return formatted("%ld min %02ld s", whole / 60, whole % 60);
  }
  const long minutes = std::lround(seconds / 60.0);
  return formatted("%ld h %02ld min", minutes / 60, minutes % 60);
}

Bytes parse_bytes(std::string_view text, std::string_view what) {
  const auto fail = [&]() -> Bytes {
    throw ConfigError("config", std::string(what) + " is not a size",
                      "expected a number with KiB, MiB, GiB, TiB, KB, MB, GB or TB, got '" + std::string(text) + "'",
                      "write for example 512MiB or 3GiB");
  };
  double value = 0.0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || !(value >= 0.0)) return fail();
  std::string unit;
  for (const char* c = end; c != text.data() + text.size(); ++c) {
    if (*c != ' ') unit += static_cast<char>(std::toupper(static_cast<unsigned char>(*c)));
  }
  static constexpr std::array<std::pair<std::string_view, double>, 13> kUnits = {{{"", 1.0},
                                                                                  {"B", 1.0},
                                                                                  {"KIB", 0x1p10},
                                                                                  {"MIB", 0x1p20},
                                                                                  {"GIB", 0x1p30},
                                                                                  {"TIB", 0x1p40},
                                                                                  {"KB", 1e3},
                                                                                  {"MB", 1e6},
                                                                                  {"GB", 1e9},
                                                                                  {"TB", 1e12},
                                                                                  {"K", 0x1p10},
                                                                                  {"M", 0x1p20},
                                                                                  {"G", 0x1p30}}};
  for (const auto& [name, factor] : kUnits) {
    if (unit == name && value * factor < 0x1p62) return static_cast<Bytes>(std::llround(value * factor));
  }
  return fail();
}

}  // namespace sluice
