// DeepSpeed's schedules (formulas: deepspeed/runtime/lr_schedules.py). DeepSpeed's first step has the rate that its
// constructor sets, and step k the rate of `last_batch_iteration` k-2; the same trajectory comes out here.
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "optim/schedules.h"

namespace sluice::optim {
namespace {

constexpr double kDefaultWarmup = 1000;

/// DeepSpeed's last_batch_iteration; -1 in the first step.
double last_iteration(std::int64_t iteration) { return static_cast<double>(iteration) - 1; }

/// Given, or --warmup-steps, or DeepSpeed's default.
double warmup_steps(const ScheduleOptions& shape, const OptionValues& options) {
  const double steps = options.given("warmup_num_steps") ? options["warmup_num_steps"]
                       : shape.warmup_steps > 0          ? static_cast<double>(shape.warmup_steps)
                                                         : kDefaultWarmup;
  return std::max(2.0, steps);
}

double total_steps(const ScheduleOptions& shape, const OptionValues& options) {
  return options.given("total_num_steps") ? options["total_num_steps"] : static_cast<double>(shape.max_steps);
}

double warmup_factor(const OptionValues& options, double t, double steps) {
  if (options.choice("warmup_type") == "linear") return t / steps;
  return 1.0 / std::log(steps) * std::log(t + 1);
}

constexpr OptionSpec kMinLr = {"warmup_min_lr"};
constexpr OptionSpec kMaxLr = {"warmup_max_lr", kNotGiven};
constexpr OptionSpec kWarmupSteps = {"warmup_num_steps", kNotGiven, 1};
constexpr OptionSpec kWarmupType = {.name = "warmup_type", .choices = "log|linear"};
constexpr OptionSpec kTotalSteps = {"total_num_steps", kNotGiven, 1};
constexpr OptionSpec kWarmupOptions[] = {kMinLr, kMaxLr, kWarmupSteps, kWarmupType};
constexpr OptionSpec kWarmupDecayOptions[] = {kTotalSteps, kMinLr, kMaxLr, kWarmupSteps, kWarmupType};

double between(const ScheduleOptions& shape, const OptionValues& options, double factor) {
  const double lowest = options["warmup_min_lr"];
  const double highest = options.given("warmup_max_lr") ? options["warmup_max_lr"] : shape.lr;
  return lowest + (highest - lowest) * factor;
}

double warmup_lr(const ScheduleOptions& shape, const OptionValues& options, std::int64_t iteration) {
  const double t = last_iteration(iteration);
  const double steps = warmup_steps(shape, options);
  if (t < 0) return between(shape, options, 0);
  return between(shape, options, t < steps ? warmup_factor(options, t, steps) : 1.0);
}

double warmup_decay_lr(const ScheduleOptions& shape, const OptionValues& options, std::int64_t iteration) {
  const double t = last_iteration(iteration);
  const double steps = warmup_steps(shape, options);
  const double total = total_steps(shape, options);
  if (t < 0) return between(shape, options, 0);
  const double factor =
      t < steps ? warmup_factor(options, t, steps) : std::max(0.0, (total - t) / std::max(1.0, total - steps));
  return between(shape, options, factor);
}

constexpr OptionSpec kWarmupCosineOptions[] = {
    kTotalSteps, {"warmup_min_ratio"}, kWarmupSteps, {"cos_min_ratio", 1e-4}, kWarmupType};

double warmup_cosine_lr(const ScheduleOptions& shape, const OptionValues& options, std::int64_t iteration) {
  const double t = last_iteration(iteration);
  const double steps = warmup_steps(shape, options);
  if (t < 0) return 0;
  if (t < steps) {
    const double first = options["warmup_min_ratio"];
    return shape.lr * (first + warmup_factor(options, t, steps) * (1.0 - first));
  }
  const double progress = std::min(1.0, (t - steps + 1) / std::max(1.0, total_steps(shape, options) - steps));
  const double lowest = options["cos_min_ratio"];
  return shape.lr * std::max(0.0, lowest + (1.0 - lowest) * ((1 + std::cos(std::numbers::pi * progress)) / 2));
}

constexpr OptionSpec kOneCycleOptions[] = {{"cycle_min_lr", kNotGiven},
                                           {"cycle_max_lr", kNotGiven},
                                           {"decay_lr_rate"},
                                           {"cycle_first_step_size", 2000, 1},
                                           {"cycle_second_step_size", kNotGiven, 1},
                                           {"cycle_first_stair_count"},
                                           {"cycle_second_stair_count", kNotGiven},
                                           {"decay_step_size"},
                                           {.name = "cycle_momentum", .choices = kSwitch},
                                           {"cycle_min_mom", 0.8, 0, 1},
                                           {"cycle_max_mom", 0.9, 0, 1},
                                           {"decay_mom_rate"}};

/// Height in the cycle, 0 to 1, after `done` iterations: up in `first` of them, down in `second`. Stairs are cut from
/// the count of iterations, which is exact where the height is not.
double cycle_height(const OptionValues& options, double done, double first, double second) {
  const double total = first + second;
  const double split = first / total;
  const double x = 1.0 + done / total - std::floor(1 + done / total);
  const double in_cycle = std::fmod(done, total);
  const bool rising = x <= split;
  const double stairs = rising || !options.given("cycle_second_stair_count") ? options["cycle_first_stair_count"]
                                                                             : options["cycle_second_stair_count"];
  if (stairs > 0) {
    const double stair = in_cycle <= first ? in_cycle * stairs / first : (total - in_cycle) * stairs / second;
    return std::floor(stair) / stairs;
  }
  return rising ? x / split : (x - 1) / (split - 1);
}

/// Where an iteration past the first is: in the cycle at a height, or so many intervals of decay past it.
struct OneCycle {
  bool cycles = true;
  double height = 0, intervals = 0;
};

OneCycle one_cycle(const OptionValues& options, std::int64_t iteration) {
  const double t = last_iteration(iteration);
  const double first = options["cycle_first_step_size"];
  const double second = options.given("cycle_second_step_size") ? options["cycle_second_step_size"] : first;
  if (t < first + second) return {.height = cycle_height(options, t + 1, first, second)};
  const double size = options["decay_step_size"];
  return {.cycles = false, .intervals = size == 0 ? 0 : (t - (first + second) + 1) / size};
}

double one_cycle_lr(const ScheduleOptions& shape, const OptionValues& options, std::int64_t iteration) {
  if (!options.given("cycle_min_lr"))
    throw ConfigError("optim", "schedule one_cycle needs its lowest rate", "expected cycle_min_lr, got none",
                      "give --lr-schedule-option cycle_min_lr=X");
  const double lowest = options["cycle_min_lr"];
  const double highest = options.given("cycle_max_lr") ? options["cycle_max_lr"] : shape.lr;
  if (last_iteration(iteration) < 0) return lowest;
  const OneCycle at = one_cycle(options, iteration);
  if (at.cycles) return lowest + (highest - lowest) * at.height;
  return lowest / (1 + options["decay_lr_rate"] * at.intervals);
}

/// Against the rate: from the highest down and back. beta2 is 0.99 throughout, whatever the rule has.
std::optional<Betas> one_cycle_betas(const OptionValues& options, std::int64_t iteration) {
  constexpr double kBeta2 = 0.99;
  if (options["cycle_momentum"] == 0) return std::nullopt;
  const double lowest = options["cycle_min_mom"], highest = options["cycle_max_mom"];
  if (last_iteration(iteration) < 0) return Betas{lowest, kBeta2};
  const OneCycle at = one_cycle(options, iteration);
  if (at.cycles) return Betas{highest - (highest - lowest) * at.height, kBeta2};
  return Betas{highest * (1 + options["decay_mom_rate"] * at.intervals), kBeta2};
}

constexpr OptionSpec kRangeTestOptions[] = {{"lr_range_test_min_lr", 1e-3},
                                            {"lr_range_test_step_size", 2000, 1},
                                            {"lr_range_test_step_rate", 1},
                                            {.name = "lr_range_test_staircase", .choices = kSwitch}};

double lr_range_test_lr(const ScheduleOptions&, const OptionValues& options, std::int64_t iteration) {
  const double t = last_iteration(iteration);
  double interval = (t + 1) / options["lr_range_test_step_size"];
  if (options["lr_range_test_staircase"] != 0) interval = std::floor(interval);
  return options["lr_range_test_min_lr"] * (1 + options["lr_range_test_step_rate"] * interval);
}

}  // namespace

ScheduleFactory warmup_lr_schedule() { return {warmup_lr, kWarmupOptions}; }
ScheduleFactory warmup_decay_lr_schedule() { return {warmup_decay_lr, kWarmupDecayOptions}; }
ScheduleFactory warmup_cosine_lr_schedule() { return {warmup_cosine_lr, kWarmupCosineOptions}; }
ScheduleFactory one_cycle_schedule() { return {one_cycle_lr, kOneCycleOptions, one_cycle_betas}; }
ScheduleFactory lr_range_test_schedule() { return {lr_range_test_lr, kRangeTestOptions}; }

}  // namespace sluice::optim
