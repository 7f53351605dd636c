// JSON from files that are not trusted: bounded size and depth, no duplicate keys, no second document behind a NUL
// byte.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/units.h"

namespace sluice::format {

struct JsonLimits {
  Bytes max_bytes = 4 * MiB;
  int max_depth = 64;
};

/// Parses one JSON object. Throws FormatError naming `origin`: not JSON, not UTF-8, not an object, a duplicate key, too
/// large or too deep.
nlohmann::json parse_json_object(std::string_view text, std::string_view origin, const JsonLimits& limits = {});

/// Only the checks that every parse of foreign JSON needs before its own: size, NUL bytes, first character.
void check_json_text(std::string_view text, std::string_view origin, Bytes max_bytes);

}  // namespace sluice::format
