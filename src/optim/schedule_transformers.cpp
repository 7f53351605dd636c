// The schedules of transformers' get_scheduler (formulas: transformers/optimization.py). Those that would climb again
// past the last step stay at their lowest rate here.
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/formatted.h"
#include "optim/schedules.h"

namespace sluice::optim {
namespace {

/// The part of the peak rate that linear warm-up gives; past it, how much of the rest is done, at most 1.
struct Position {
  bool warming = false;
  double ratio = 0;
};

Position position(const ScheduleOptions& shape, std::int64_t iteration) {
  const auto step = static_cast<double>(iteration);
  const auto warmup = static_cast<double>(shape.warmup_steps);
  if (iteration < shape.warmup_steps) return {true, step_ratio(step, warmup)};
  return {false, std::min(1.0, step_ratio(step - warmup, static_cast<double>(shape.max_steps) - warmup))};
}

double waves(double num_cycles, double progress) {
  return 0.5 * (1.0 + std::cos(std::numbers::pi * num_cycles * 2.0 * progress));
}

double constant_lr(const ScheduleOptions& shape, const OptionValues&, std::int64_t iteration) {
  const Position at = position(shape, iteration);
  return shape.lr * (at.warming ? at.ratio : 1.0);
}

double linear_lr(const ScheduleOptions& shape, const OptionValues&, std::int64_t iteration) {
  const Position at = position(shape, iteration);
  if (at.warming) return shape.lr * at.ratio;
  const auto left = static_cast<double>(shape.max_steps - iteration);
  return shape.lr * std::max(0.0, step_ratio(left, static_cast<double>(shape.max_steps - shape.warmup_steps)));
}

constexpr OptionSpec kNumWaves = {"num_cycles", 0.5};
constexpr OptionSpec kCosineOptions[] = {kNumWaves};

double cosine_lr(const ScheduleOptions& shape, const OptionValues& options, std::int64_t iteration) {
  const Position at = position(shape, iteration);
  return shape.lr * (at.warming ? at.ratio : std::max(0.0, waves(options["num_cycles"], at.ratio)));
}

constexpr OptionSpec kMinLrOptions[] = {{"min_lr", kNotGiven}, {"min_lr_rate", kNotGiven}, kNumWaves};

double min_lr_rate(const ScheduleOptions& shape, const OptionValues& options) {
  if (options.given("min_lr") == options.given("min_lr_rate")) {
    throw ConfigError(
        "optim", "this schedule needs its lowest rate",
        std::string("expected one of min_lr and min_lr_rate, got ") + (options.given("min_lr") ? "both" : "none"),
        "give --lr-schedule-option min_lr=X");
  }
  if (options.given("min_lr_rate")) return options["min_lr_rate"];
  return shape.lr > 0 ? options["min_lr"] / shape.lr : 0;
}

double cosine_with_min_lr(const ScheduleOptions& shape, const OptionValues& options, std::int64_t iteration) {
  const double rate = min_lr_rate(shape, options);
  const Position at = position(shape, iteration);
  if (at.warming) return shape.lr * at.ratio;
  return shape.lr * std::max(0.0, waves(options["num_cycles"], at.ratio) * (1.0 - rate) + rate);
}

constexpr OptionSpec kWarmupMinLrOptions[] = {
    {"min_lr", kNotGiven}, {"min_lr_rate", kNotGiven}, {"warmup_lr_rate", kNotGiven}, kNumWaves};

double cosine_warmup_with_min_lr(const ScheduleOptions& shape, const OptionValues& options, std::int64_t iteration) {
  const double rate = min_lr_rate(shape, options);
  const auto step = static_cast<double>(iteration);
  const auto warmup = static_cast<double>(shape.warmup_steps);
  if (iteration < shape.warmup_steps) {
    if (!options.given("warmup_lr_rate")) return shape.lr * step_ratio(step + 1.0, warmup);
    const double first = options["warmup_lr_rate"];
    return shape.lr * (first + (1.0 - first) * step / std::max(1.0, warmup - 1));
  }
  const double progress = step_ratio(step - warmup + 1.0, static_cast<double>(shape.max_steps) - warmup);
  return shape.lr * std::max(0.0, waves(options["num_cycles"], std::min(1.0, progress)) * (1 - rate) + rate);
}

constexpr OptionSpec kRestartOptions[] = {{"num_cycles", 1}};

double cosine_with_restarts_lr(const ScheduleOptions& shape, const OptionValues& options, std::int64_t iteration) {
  const Position at = position(shape, iteration);
  if (at.warming) return shape.lr * at.ratio;
  if (at.ratio >= 1.0) return 0;
  const double within = std::fmod(options["num_cycles"] * at.ratio, 1.0);
  return shape.lr * std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * within)));
}

constexpr OptionSpec kPolynomialOptions[] = {{"lr_end", 1e-7}, {"power", 1}};

double polynomial_lr(const ScheduleOptions& shape, const OptionValues& options, std::int64_t iteration) {
  const double end = options["lr_end"];
  if (!(shape.lr > end))
    throw ConfigError("optim", "schedule polynomial cannot end above its peak",
                      formatted("expected lr_end < --lr, got %g and %g", end, shape.lr));
  const Position at = position(shape, iteration);
  if (at.warming) return shape.lr * at.ratio;
  if (iteration > shape.max_steps) return shape.lr * (end / shape.lr);
  const double decayed = (shape.lr - end) * std::pow(1 - at.ratio, options["power"]) + end;
  return shape.lr * (decayed / shape.lr);
}

constexpr OptionSpec kInverseSqrtOptions[] = {{"timescale", kNotGiven, 1}};

double inverse_sqrt_lr(const ScheduleOptions& shape, const OptionValues& options, std::int64_t iteration) {
  const Position at = position(shape, iteration);
  if (at.warming) return shape.lr * at.ratio;
  const auto warmup = static_cast<double>(shape.warmup_steps);
  const double timescale =
      options.given("timescale") ? options["timescale"] : (shape.warmup_steps > 0 ? warmup : 10000);
  return shape.lr * (1.0 / std::sqrt((static_cast<double>(iteration) + timescale - warmup) / timescale));
}

}  // namespace

ScheduleFactory constant_schedule() { return {constant_lr}; }
ScheduleFactory linear_schedule() { return {linear_lr}; }
ScheduleFactory cosine_schedule() { return {cosine_lr, kCosineOptions}; }
ScheduleFactory cosine_with_min_lr_schedule() { return {cosine_with_min_lr, kMinLrOptions}; }
ScheduleFactory cosine_warmup_with_min_lr_schedule() { return {cosine_warmup_with_min_lr, kWarmupMinLrOptions}; }
ScheduleFactory cosine_with_restarts_schedule() { return {cosine_with_restarts_lr, kRestartOptions}; }
ScheduleFactory polynomial_schedule() { return {polynomial_lr, kPolynomialOptions}; }
ScheduleFactory inverse_sqrt_schedule() { return {inverse_sqrt_lr, kInverseSqrtOptions}; }

}  // namespace sluice::optim
