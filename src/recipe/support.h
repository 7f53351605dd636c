// What this version can honour, and what follows from several settings together. An option that is spelled right but
// has nothing behind it yet is refused by name; nothing that is asked for is ignored in silence.
#pragma once
#include <optional>
#include <string_view>

#include "format/peft.h"
#include "optim/rule.h"
#include "optim/schedule.h"
#include "plan/planner.h"
#include "recipe/settings.h"

namespace sluice::recipe {

/// Throws ConfigError naming the first setting that is not available, with what to use instead, or that contradicts
/// another one. Warns of settings without effect.
void check_supported(const Settings& settings);

/// Throws ConfigError naming the first option that `verb` ("train", "plan", "eval", "sample", "export") needs and does
/// not have.
void check_required(const Settings& settings, std::string_view verb);

/// Whether the run has data that it does not train on.
[[nodiscard]] bool has_held_out(const Settings& settings);

/// `spill` counts as auto here; check_supported has refused it.
[[nodiscard]] plan::Activations plan_activations(const Settings& settings);

/// Betas, eps, momentum and `optimizer_options`. Throws ConfigError for an option that the rule does not have.
[[nodiscard]] optim::RuleOptions rule_options(const Settings& settings);

/// The adapter that is asked for, with the targets of `model_type` where none are named; that of `adapter_path` where
/// one is given. nullopt: none.
[[nodiscard]] std::optional<format::AdapterConfig> adapter_config(const Settings& settings,
                                                                  std::string_view model_type);

/// Rate, warm-up, length and `lr_schedule_options`. Throws ConfigError for an option that the schedule does not have,
/// or lacks.
[[nodiscard]] optim::ScheduleOptions schedule_options(const Settings& settings, std::int64_t max_steps);

}  // namespace sluice::recipe
