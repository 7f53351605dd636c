#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sluice::optim {
namespace {

double ratio(std::int64_t part, std::int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(std::max<std::int64_t>(1, whole));
}

double warmup(const ScheduleOptions& options, std::int64_t iteration) { return ratio(iteration, options.warmup_steps); }

}  // namespace

double constant_rate(const ScheduleOptions& options, std::int64_t iteration) {
  return iteration < options.warmup_steps ? warmup(options, iteration) : 1.0;
}

double linear_rate(const ScheduleOptions& options, std::int64_t iteration) {
  if (iteration < options.warmup_steps) return warmup(options, iteration);
  return std::max(0.0, ratio(options.max_steps - iteration, options.max_steps - options.warmup_steps));
}

double cosine_rate(const ScheduleOptions& options, std::int64_t iteration) {
  if (iteration < options.warmup_steps) return warmup(options, iteration);
  const double progress = ratio(iteration - options.warmup_steps, options.max_steps - options.warmup_steps);
  return std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * std::min(progress, 1.0))));
}

double cosine_with_min_lr_rate(const ScheduleOptions& options, std::int64_t iteration) {
  const double rate = cosine_rate(options, iteration);
  return iteration < options.warmup_steps ? rate : rate * (1.0 - options.min_lr_rate) + options.min_lr_rate;
}

}  // namespace sluice::optim
