// Clipping, loss scaling and the time of updates hang together: what must be known of all gradients before the first
// update decides when updates can be.
#pragma once
#include "optim/clip.h"
#include "optim/loss_scale.h"
#include "plan/step.h"
#include "recipe/settings.h"

namespace sluice::recipe {

/// Throws ConfigError for settings that contradict each other. Warns of settings without effect.
void check_clipping(const Settings& settings);

/// What is asked for, or the habit of the rule: `two-pass` for one that is meant to run in backward, else `global`.
[[nodiscard]] ClipMode clip_mode(const Settings& settings);

/// `auto` resolved: where clipping or loss scaling must see all gradients before the first update, a second pass, a
/// sweep (clipping by blocks) or next-forward; else backward.
[[nodiscard]] plan::UpdateWhen update_when(const Settings& settings);

/// `max_grad_norm` as bound; nothing when that is 0.
[[nodiscard]] optim::Clipping clipping(const Settings& settings);

/// Fixed at 1 where no loss scale is asked for. Throws ConfigError for an option that the policy does not have.
[[nodiscard]] optim::LossScaleOptions loss_scale_options(const Settings& settings);

}  // namespace sluice::recipe
