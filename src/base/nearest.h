// "Did you mean ...?": the known name closest to what was typed.
#pragma once
#include <span>
#include <string>
#include <string_view>

namespace sluice {

/// Levenshtein distance of two names, case ignored, '-' and '_' the same.
int edit_distance(std::string_view a, std::string_view b);

/// The candidate with the smallest edit distance to `name`; empty when there are no candidates.
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

}  // namespace sluice
