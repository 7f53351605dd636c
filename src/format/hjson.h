// Hjson (hjson.github.io), the JSON that people write by hand: comments, keys without quotes, commas that are missing
// or too many, text without quotes up to the end of its line. Every JSON document is one, and means the same.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "format/strict_json.h"

namespace sluice::format {

/// Parses one object, with or without the braces around it; keys stay in the order of the text. Throws FormatError
/// naming `origin` and the line: not Hjson, not UTF-8, not an object, a duplicate key, too large or too deep.
nlohmann::ordered_json parse_hjson_object(std::string_view text, std::string_view origin,
                                          const JsonLimits& limits = {});

}  // namespace sluice::format
