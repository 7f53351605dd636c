// The text of --param-group.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "recipe/settings.h"

namespace sluice::recipe {

/// "PATTERN:lr=X,weight_decay=X", several with commas between them. Throws ConfigError naming the part that is wrong.
std::vector<ParamGroup> parse_groups(std::string_view text);

/// The text that `parse_groups` reads back.
std::string print_groups(const std::vector<ParamGroup>& groups);

}  // namespace sluice::recipe
