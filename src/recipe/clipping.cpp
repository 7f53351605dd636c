#include "recipe/clipping.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/log.h"
#include "optim/rule.h"
#include "recipe/parse_value.h"

namespace sluice::recipe {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Of several rules one is enough: nobody's gradient is kept then.
bool is_meant_for_backward(const Settings& settings) {
  return std::ranges::any_of(optim::rule_catalog(), [&](const optim::RuleRow& rule) {
    return rule.make.in_backward && (rule.name == settings.optimizer || rule.name == settings.base_optimizer);
  });
}

bool clips_by_whole_norm(const Settings& settings) {
  const ClipMode mode = clip_mode(settings);
  return settings.max_grad_norm > 0 && (mode == ClipMode::Global || mode == ClipMode::TwoPass);
}

// A norm over everything, or whether anything overflowed.
bool must_see_all(const Settings& settings) { return settings.loss_scale.has_value() || clips_by_whole_norm(settings); }

/// One option of a policy, as DeepSpeed or torch names it.
void set_scale_option(optim::LossScaleOptions& options, const std::string& key, const std::string& value) {
  const std::string what = "loss-scale-option " + key;
  const auto real = [&] { return parse_real(value, what, {0, kInfinity, true, true}); };
  const auto count = [&] { return parse_integer(value, what, {1, std::int64_t{1} << 40}); };
  const bool torch = options.policy == optim::ScalePolicy::Torch;
  if (torch && key == "init_scale") {
    options.initial = real();
  } else if (torch && key == "growth_factor") {
    options.growth = real();
  } else if (torch && key == "backoff_factor") {
    options.backoff = real();
  } else if (torch && key == "growth_interval") {
    options.window = count();
  } else if (!torch && key == "initial_scale_power") {
    options.initial = std::exp2(static_cast<double>(parse_integer(value, what, {0, 127})));
  } else if (!torch && key == "loss_scale_window") {
    options.window = count();
  } else if (!torch && key == "hysteresis") {
    options.hysteresis = count();
  } else if (!torch && key == "consecutive_hysteresis") {
    options.consecutive_hysteresis = parse_switch(value, what);
  } else if (!torch && key == "min_loss_scale") {
    options.minimum = real();
  } else {
    throw ConfigError(
        "config", std::string("loss scale policy ") + (torch ? "torch" : "deepspeed") + " has no option '" + key + "'",
        torch ? "known are init_scale, growth_factor, backoff_factor, growth_interval"
              : "known are initial_scale_power, loss_scale_window, hysteresis, consecutive_hysteresis, "
                "min_loss_scale");
  }
}

void check_time_of_update(const Settings& settings) {
  const bool in_backward = settings.update == UpdateMode::Backward;
  if (in_backward && must_see_all(settings) && clip_mode(settings) != ClipMode::TwoPass) {
    const bool norm = clips_by_whole_norm(settings);
    throw ConfigError("config",
                      std::string("--update backward contradicts ") +
                          (norm ? "clipping by the global norm" : "--loss-scale, whose overflows must be found first"),
                      norm ? "expected --max-grad-norm 0, got " + print_real(settings.max_grad_norm)
                           : "expected none, got --loss-scale " + *settings.loss_scale,
                      "use --clip-mode two-pass, or --update auto");
  }
  if (settings.clip_mode == ClipMode::TwoPass && !in_backward && settings.update != UpdateMode::Auto) {
    throw ConfigError("config", "--clip-mode two-pass contradicts --update",
                      "it measures in one pass and updates in the backward of another",
                      "leave --update out, or use --clip-mode global, which gives the same bits");
  }
  if (settings.clip_mode == ClipMode::Block && settings.update == UpdateMode::NextForward &&
      settings.max_grad_norm > 0) {
    throw ConfigError("config", "--clip-mode block contradicts --update next-forward",
                      "the norm of one block is known in its own step alone",
                      "use --update backward or --update sweep, or leave it out");
  }
}

}  // namespace

void check_clipping(const Settings& settings) {
  check_time_of_update(settings);
  const bool dynamic = settings.loss_scale == "dynamic";
  if (!settings.loss_scale_options.empty() && !dynamic)
    throw ConfigError("config", "--loss-scale-option has nothing to set",
                      "expected --loss-scale dynamic, got " + settings.loss_scale.value_or("none"));
  (void)loss_scale_options(settings);
  if (settings.clip_mode && settings.max_grad_norm == 0)
    log_warning("--clip-mode has no effect with --max-grad-norm 0");
}

ClipMode clip_mode(const Settings& settings) {
  if (settings.clip_mode) return *settings.clip_mode;
  const bool free = settings.update == UpdateMode::Auto || settings.update == UpdateMode::Backward;
  return free && is_meant_for_backward(settings) ? ClipMode::TwoPass : ClipMode::Global;
}

plan::UpdateWhen update_when(const Settings& settings) {
  if (settings.update == UpdateMode::NextForward) return plan::UpdateWhen::NextForward;
  if (settings.update == UpdateMode::Sweep) return plan::UpdateWhen::Sweep;
  if (!must_see_all(settings)) return plan::UpdateWhen::Backward;
  switch (clip_mode(settings)) {
    case ClipMode::TwoPass:
      return plan::UpdateWhen::SecondPass;
    case ClipMode::Block:
      return plan::UpdateWhen::Sweep;
    case ClipMode::Global:
    case ClipMode::Value:
      break;
  }
  return plan::UpdateWhen::NextForward;
}

optim::Clipping clipping(const Settings& settings) {
  if (settings.max_grad_norm == 0) return {};
  optim::ClipKind kind = optim::ClipKind::Total;
  if (clip_mode(settings) == ClipMode::Block) kind = optim::ClipKind::Block;
  if (clip_mode(settings) == ClipMode::Value) kind = optim::ClipKind::Value;
  return {kind, settings.max_grad_norm};
}

optim::LossScaleOptions loss_scale_options(const Settings& settings) {
  if (settings.loss_scale != "dynamic") {
    const double scale =
        settings.loss_scale ? parse_real(*settings.loss_scale, "loss-scale", {0, kInfinity, true, true}) : 1;
    return {.policy = optim::ScalePolicy::Fixed, .initial = scale};
  }
  optim::LossScaleOptions options;
  for (const auto& [key, value] : settings.loss_scale_options) {
    if (key != "policy") continue;
    if (value != "deepspeed" && value != "torch")
      throw ConfigError("config", "--loss-scale-option policy cannot be used",
                        "expected deepspeed or torch, got '" + value + "'");
    if (value == "torch") options = {.policy = optim::ScalePolicy::Torch, .window = 2000};
  }
  for (const auto& [key, value] : settings.loss_scale_options) {
    if (key != "policy") set_scale_option(options, key, value);
  }
  return options;
}

}  // namespace sluice::recipe
