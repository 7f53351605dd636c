// Integers from JSON that is not trusted: the library converts 1e64 to an integer by undefined behaviour.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace sluice::data {

/// Throws FormatError for anything but an integer that fits; `what` names it.
inline std::int64_t integer_of(const nlohmann::json& value, const char* what) {
  if (!value.is_number_integer() || (value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX))
    throw FormatError("data", std::string(what) + " is malformed",
                      "expected an integer, got " + value.dump().substr(0, 40));
  return value.get<std::int64_t>();
}

}  // namespace sluice::data
