// Text of a value to its type and back. Every message names the option, what was expected and what was written.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"

namespace sluice::recipe {

struct IntegerRange {
  std::int64_t lowest = 0;
  std::int64_t highest = 0;
};

struct RealRange {
  double lowest = 0;
  double highest = 0;
  bool open_below = false;  ///< `lowest` itself is outside
  bool open_above = false;
};

/// All throw ConfigError; `what` is the option's name.
std::int64_t parse_integer(std::string_view text, std::string_view what, IntegerRange range);
std::uint64_t parse_seed(std::string_view text, std::string_view what);
double parse_real(std::string_view text, std::string_view what, RealRange range);
/// true, yes, on, 1 and their opposites.
bool parse_switch(std::string_view text, std::string_view what);
/// "90", "90s", "15min", "2h", "1.5 d".
Seconds parse_seconds(std::string_view text, std::string_view what);
[[noreturn]] void throw_bad_value(std::string_view what, std::string_view expected, std::string_view text,
                                  std::string_view try_this = {});

/// The shortest text that reads back to the same double.
std::string print_real(double value);

/// Parts between commas, blanks around them removed, empty ones left out.
std::vector<std::string> split_list(std::string_view text);
std::string join_list(const std::vector<std::string>& parts);

/// Lower case, '_' as '-'.
std::string fold_name(std::string_view name);

}  // namespace sluice::recipe
