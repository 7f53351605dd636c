// Learning rate as a function of the iteration alone, so that a resumed run needs no schedule state. Values are those
// of transformers' get_scheduler (formulas: transformers/optimization.py), in double.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include "base/catalog.h"

namespace sluice::optim {

struct ScheduleOptions {
  double lr = 0;  ///< peak rate
  std::int64_t warmup_steps = 0;
  std::int64_t max_steps = 0;
  double min_lr_rate = 0;  ///< of `cosine_with_min_lr`: its lowest rate as a part of `lr`
};

/// Factor in [0, 1] on the peak rate at an iteration (from 0).
using ScheduleRow = CatalogRow<double (*)(const ScheduleOptions&, std::int64_t)>;

/// All schedules, as `sluice list schedules` prints them.
std::span<const ScheduleRow> schedule_catalog();

/// The rate at `iteration`, counted from 0: step k uses iteration k-1, so with warm-up the first step has rate 0. Past
/// `max_steps` linear and cosine stay at their lowest rate (transformers' cosine would climb again). Throws ConfigError
/// for an unknown name.
double schedule_lr(std::string_view name, const ScheduleOptions& options, std::int64_t iteration);

double constant_rate(const ScheduleOptions& options, std::int64_t iteration);
double linear_rate(const ScheduleOptions& options, std::int64_t iteration);
double cosine_rate(const ScheduleOptions& options, std::int64_t iteration);
double cosine_with_min_lr_rate(const ScheduleOptions& options, std::int64_t iteration);

}  // namespace sluice::optim
