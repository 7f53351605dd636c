#include "optim/loss_scale.h"

#include <algorithm>
#include <cmath>

namespace sluice::optim {

LossScale::LossScale(const LossScaleOptions& options)
    : LossScale(options, {.scale = options.initial, .hysteresis = options.hysteresis}) {}

// A fixed factor is what the options say, whatever a run before had.
LossScale::LossScale(const LossScaleOptions& options, const LossScaleState& state) : options_(options), state_(state) {
  if (!is_dynamic()) state_ = {.scale = options.initial};
}

bool LossScale::update(bool overflow) {
  switch (options_.policy) {
    case ScalePolicy::Fixed:
      break;
    case ScalePolicy::DeepSpeed:
      return update_deepspeed(overflow);
    case ScalePolicy::Torch:
      update_torch(overflow);
      break;
  }
  return true;
}

// The window is counted from the step after the latest overflow, and the scale grows after every full window from then
// on. In the source the very first window is counted from an overflow before the first step.
bool LossScale::update_deepspeed(bool overflow) {
  if (overflow) {
    if (options_.hysteresis == 1 || state_.hysteresis == 1) {
      if (state_.scale == options_.minimum) return false;
      state_.scale = std::max(state_.scale / 2, options_.minimum);
    } else {
      state_.hysteresis -= 1;
    }
    state_.last_overflow = state_.iteration;
  } else {
    if (options_.consecutive_hysteresis) state_.hysteresis = options_.hysteresis;
    const std::int64_t stable = state_.iteration - state_.last_overflow - 1;
    if (stable > 0 && stable % options_.window == 0) {
      state_.hysteresis = options_.hysteresis;
      state_.scale *= 2;
    }
  }
  state_.iteration += 1;
  return true;
}

void LossScale::update_torch(bool overflow) {
  const auto scaled = [&](double factor) { return static_cast<float>(state_.scale * factor); };
  if (overflow) {
    state_.scale = scaled(options_.backoff);
    state_.clean_steps = 0;
    return;
  }
  state_.clean_steps += 1;
  if (state_.clean_steps < options_.window) return;
  if (const float grown = scaled(options_.growth); std::isfinite(grown)) state_.scale = grown;
  state_.clean_steps = 0;
}

}  // namespace sluice::optim
