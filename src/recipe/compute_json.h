// The measured part of a machine file: rates of computations with their curves, and how lanes slow each other.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "plan/machine.h"

namespace sluice::recipe {

/// A curve is an object of "m x n x k" (or bytes) to its rate, so that people can read one line per point.
[[nodiscard]] nlohmann::ordered_json compute_json(const plan::ComputeRate& rate);
[[nodiscard]] nlohmann::ordered_json contention_json(const plan::Contention& contention);

/// Throw ConfigError naming the key below `where`. Curves may be missing.
[[nodiscard]] plan::ComputeRate read_compute(const nlohmann::json& json, const std::string& where);
[[nodiscard]] plan::Contention read_contention(const nlohmann::json& json, const std::string& where);

}  // namespace sluice::recipe
