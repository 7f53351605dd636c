// Learning rate as a function of the iteration alone, so that a resumed run needs no schedule state. In double.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/catalog.h"
#include "optim/options.h"

namespace sluice::optim {

struct ScheduleOptions {
  double lr = 0;  ///< peak rate
  std::int64_t warmup_steps = 0;
  std::int64_t max_steps = 0;
  GivenOptions options = {};  ///< those that the schedule declares
};

/// Of rules with two moments, for one step.
struct Betas {
  double beta1 = 0, beta2 = 0;
};

/// How a row computes its rate at an iteration from 0, and the options that it declares.
struct ScheduleFactory {
  double (*lr)(const ScheduleOptions&, const OptionValues&, std::int64_t iteration);
  std::span<const OptionSpec> options = {};
  /// Of a schedule that may cycle betas, too; nullopt: the options do not ask for it.
  std::optional<Betas> (*betas)(const OptionValues&, std::int64_t iteration) = nullptr;
};

using ScheduleRow = CatalogRow<ScheduleFactory>;

/// All schedules, as `sluice list schedules` prints them.
std::span<const ScheduleRow> schedule_catalog();

/// The rate at `iteration`, counted from 0: step k uses iteration k-1, so with warm-up the first step has rate 0. Past
/// `max_steps` schedules that decay stay at their lowest rate (transformers' cosine would climb again). Throws
/// ConfigError for an unknown name, and for options that the schedule does not declare, needs, or cannot take.
double schedule_lr(std::string_view name, const ScheduleOptions& options, std::int64_t iteration);

/// Betas at `iteration` in place of the rule's own, where the schedule cycles them. Throws as schedule_lr.
std::optional<Betas> schedule_betas(std::string_view name, const ScheduleOptions& options, std::int64_t iteration);

}  // namespace sluice::optim
