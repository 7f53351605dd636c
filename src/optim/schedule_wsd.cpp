// Warm-up, stable, decay (MiniCPM, arXiv 2404.06395): as transformers' get_wsd_schedule computes it, and as
// Megatron-LM's OptimizerParamScheduler does, which has more forms of decay and warms up from its own rate.
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/formatted.h"
#include "optim/schedules.h"

namespace sluice::optim {
namespace {

/// Steps of decay: given, or a tenth of the run as in MiniCPM.
double decay_steps(const ScheduleOptions& shape, const OptionValues& options, std::string_view name) {
  if (options.given(name)) return options[name];
  return std::ceil(0.1 * static_cast<double>(shape.max_steps));
}

constexpr OptionSpec kTransformersOptions[] = {{"num_decay_steps", kNotGiven},
                                               {"num_stable_steps", kNotGiven},
                                               {.name = "warmup_type", .choices = "linear|cosine|1-sqrt"},
                                               {.name = "decay_type", .fallback = 1, .choices = "linear|cosine|1-sqrt"},
                                               {"min_lr_ratio", 0, 0, 1},
                                               {"num_cycles", 0.5}};

double warmup_stable_decay_lr(const ScheduleOptions& shape, const OptionValues& options, std::int64_t iteration) {
  const auto step = static_cast<double>(iteration);
  const auto warmup = static_cast<double>(shape.warmup_steps);
  const double decay = decay_steps(shape, options, "num_decay_steps");
  const double stable = options.given("num_stable_steps") ? options["num_stable_steps"]
                                                          : static_cast<double>(shape.max_steps) - warmup - decay;
  const double lowest = options["min_lr_ratio"];
  const auto above_lowest = [&](double part) { return shape.lr * std::max(0.0, part * (1.0 - lowest) + lowest); };
  if (step < warmup) {
    const double progress = step_ratio(step, warmup);
    const std::string_view type = options.choice("warmup_type");
    if (type == "cosine") return above_lowest(0.5 * (1.0 - std::cos(std::numbers::pi * progress)));
    return above_lowest(type == "linear" ? progress : 1.0 - std::sqrt(1.0 - progress));
  }
  if (step < warmup + stable) return shape.lr;
  if (step >= warmup + stable + decay) return shape.lr * lowest;
  const double progress = step_ratio(step - warmup - stable, decay);
  const std::string_view type = options.choice("decay_type");
  if (type == "cosine")
    return above_lowest(0.5 * (1.0 + std::cos(std::numbers::pi * options["num_cycles"] * 2.0 * progress)));
  return above_lowest(type == "linear" ? 1.0 - progress : 1.0 - std::sqrt(progress));
}

constexpr OptionSpec kMegatronOptions[] = {
    {"decay_steps", kNotGiven, 1},
    {.name = "decay_style", .fallback = 3, .choices = "linear|cosine|exponential|minus_sqrt"},
    {"min_lr"},
    {"init_lr"}};

double decay_coefficient(std::string_view style, double done) {
  if (style == "cosine") return 0.5 * (std::cos(std::numbers::pi * done) + 1.0);
  if (style == "exponential") return 2.0 * std::pow(0.5, done) - 1.0;
  return style == "linear" ? 1.0 - done : 1.0 - std::sqrt(done);
}

double wsd_lr(const ScheduleOptions& shape, const OptionValues& options, std::int64_t iteration) {
  const double lowest = options["min_lr"];
  const double first = options["init_lr"];
  if (lowest > shape.lr || first > shape.lr)
    throw ConfigError("optim", "schedule wsd cannot start or end above its peak",
                      formatted("expected min_lr and init_lr <= --lr, got %g, %g and %g", lowest, first, shape.lr));
  const auto step = static_cast<double>(iteration);
  const auto warmup = static_cast<double>(shape.warmup_steps);
  if (shape.warmup_steps > 0 && iteration <= shape.warmup_steps) return first + (shape.lr - first) * step / warmup;
  if (iteration > shape.max_steps) return lowest;
  const double decay = decay_steps(shape, options, "decay_steps");
  const double start = static_cast<double>(shape.max_steps) - decay;
  const double coefficient =
      step <= start ? 1.0 : decay_coefficient(options.choice("decay_style"), (step - start) / decay);
  return lowest + coefficient * (shape.lr - lowest);
}

}  // namespace

ScheduleFactory warmup_stable_decay_schedule() { return {warmup_stable_decay_lr, kTransformersOptions}; }
ScheduleFactory wsd_schedule() { return {wsd_lr, kMegatronOptions}; }

}  // namespace sluice::optim
