// Parameter groups: rate and weight decay by name of the parameter, as torch's param_groups give them by tensor.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "optim/rule.h"

namespace sluice::optim {

/// What holds for the parameters whose names match.
struct ParamGroup {
  std::string pattern;                 ///< a glob over the whole Hugging Face name: * ? [...]
  double lr_factor = 1;                ///< multiplies the schedule's rate
  std::optional<double> weight_decay;  ///< for all of them, whatever their dimensions; absent: as without the group
  bool operator==(const ParamGroup&) const = default;
};

/// The first group that matches, or nullptr.
[[nodiscard]] const ParamGroup* find_group(std::span<const ParamGroup> groups, std::string_view name);

/// `args` as they hold for one parameter.
[[nodiscard]] UpdateArgs args_in_group(std::span<const ParamGroup> groups, std::string_view name, UpdateArgs args);

/// Throws ConfigError naming a group whose pattern matches none of `names`, or none that an earlier one left.
void check_groups(std::span<const ParamGroup> groups, std::span<const std::string> names);

}  // namespace sluice::optim
