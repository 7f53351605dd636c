#include "optim/param_groups.h"

#include <fnmatch.h>

#include <algorithm>

#include "base/error.h"
#include "base/nearest.h"

namespace sluice::optim {

const ParamGroup* find_group(std::span<const ParamGroup> groups, std::string_view name) {
  const std::string text(name);
  for (const ParamGroup& group : groups) {
    if (::fnmatch(group.pattern.c_str(), text.c_str(), 0) == 0) return &group;
  }
  return nullptr;
}

UpdateArgs args_in_group(std::span<const ParamGroup> groups, std::string_view name, UpdateArgs args) {
  if (const ParamGroup* group = find_group(groups, name)) {
    args.lr *= group->lr_factor;
    args.weight_decay = group->weight_decay.value_or(args.weight_decay);
  }
  return args;
}

void check_groups(std::span<const ParamGroup> groups, std::span<const std::string> names) {
  for (const ParamGroup& group : groups) {
    const auto takes = [&](const std::string& name) { return find_group(groups, name) == &group; };
    if (std::ranges::any_of(names, takes)) continue;
    throw ConfigError("optim", "no parameter is in group '" + group.pattern + "'",
                      "expected a pattern that matches the name of a parameter and stands before wider ones",
                      "the nearest name is '" + nearest_name(group.pattern, names) + "'");
  }
}

}  // namespace sluice::optim
