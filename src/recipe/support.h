// What this version can honour, and what follows from several settings together. An option that is spelled right but
// has nothing behind it yet is refused by name; nothing that is asked for is ignored in silence.
#pragma once
#include <optional>
#include <string_view>

#include "format/peft.h"
#include "optim/rule_set.h"
#include "optim/schedule.h"
#include "optim/weight_precision.h"
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

/// `--nproc` on each of `--nodes`.
[[nodiscard]] int num_ranks(const Settings& settings);
/// `--zero-stage` over all ranks, in groups of `--zero-shard-size`.
[[nodiscard]] plan::Sharding sharding(const Settings& settings);
/// `--reduce-dtype`, or OneBit with `--gradient-compression 1bit`.
[[nodiscard]] DType sent_gradients(const Settings& settings);

/// `--activations` as the planner names it.
[[nodiscard]] plan::Activations plan_activations(const Settings& settings);

/// Betas, eps and momentum as far as they were given and the rule has them, and `optimizer_options`. Throws ConfigError
/// for an option that stands in both.
[[nodiscard]] optim::RuleOptions rule_options(const Settings& settings);

/// The adapter that is asked for, with the targets of `model_type` where none are named; that of `adapter_path` where
/// one is given. nullopt: none.
[[nodiscard]] std::optional<format::AdapterConfig> adapter_config(const Settings& settings,
                                                                  std::string_view model_type);

[[nodiscard]] bool has_adapter(const Settings& settings);
/// What products with weights multiply.
[[nodiscard]] DType compute_format(const Settings& settings);
/// Of weights that no update changes.
[[nodiscard]] DType stored_weights(const Settings& settings);
/// How memory holds weights that are stored as `stored`: like that where products take them so or can widen them in
/// passing, else as fp32 numbers.
[[nodiscard]] DType held_weights(const Settings& settings, DType stored);
/// Of trained weights and what updates keep beside them. An adapter's are fp32, as PEFT has them.
[[nodiscard]] optim::WeightPrecision weight_precision(const Settings& settings);
/// Of what --model holds, trained by its own rule, where it is a base, or by the only one.
[[nodiscard]] optim::WeightPrecision model_precision(const Settings& settings);
/// Number of the rule that trains an adapter's base, where it is trained at all: its chunks say so.
inline constexpr int kBaseRule = 1;
/// The rules with everything that settings say of them: one, or that of an adapter and that of its base.
[[nodiscard]] optim::RuleSet update_rules(const Settings& settings);

/// Rate, warm-up, length and `lr_schedule_options`.
[[nodiscard]] optim::ScheduleOptions schedule_options(const Settings& settings, std::int64_t max_steps);

}  // namespace sluice::recipe
