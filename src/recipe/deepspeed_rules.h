// What DeepSpeed's optimizer types are called here, with DeepSpeed's defaults where they differ from ours.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "recipe/settings.h"

namespace sluice::recipe {

struct DeepSpeedRule {
  std::string rule;                  ///< for --optimizer; a name that nobody here knows is refused there
  std::vector<NamedValue> defaults;  ///< options for what the file leaves out
  std::string note;                  ///< what a user of the type should know
};

/// `type` in any case. `adam_w_mode` is the parameter of that name, true where it is missing: then Adam is AdamW.
DeepSpeedRule deepspeed_rule(std::string_view type, bool adam_w_mode);

}  // namespace sluice::recipe
