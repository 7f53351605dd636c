// The factor on the loss that lifts small 16-bit gradients above zero, and how it adapts: a state machine that is told
// after each step whether a gradient overflowed. Two are known, with exactly their sources' sequences.
#pragma once
#include <cstdint>

namespace sluice::optim {

enum class ScalePolicy {
  Fixed,      ///< the same factor throughout; 1: none
  DeepSpeed,  ///< deepspeed/runtime/fp16/loss_scaler.py, DynamicLossScaler
  Torch,      ///< torch/amp/grad_scaler.py and its kernel amp_update_scale_, in fp32 as there
};

/// Defaults are DeepSpeed's. A policy reads those it knows.
struct LossScaleOptions {
  ScalePolicy policy = ScalePolicy::DeepSpeed;
  double initial = 65536;
  double growth = 2, backoff = 0.5;     ///< Torch; DeepSpeed doubles and halves
  std::int64_t window = 1000;           ///< clean steps before the scale grows (Torch's default is 2000)
  std::int64_t hysteresis = 2;          ///< DeepSpeed: this manieth overflow lowers the scale
  bool consecutive_hysteresis = false;  ///< DeepSpeed: every clean step forgives the overflows before it
  double minimum = 1;                   ///< DeepSpeed: an overflow at this scale ends the run
};

/// All that a resumed run must know.
struct LossScaleState {
  double scale = 1;
  std::int64_t iteration = 0;       ///< DeepSpeed: steps so far
  std::int64_t last_overflow = -1;  ///< DeepSpeed: the iteration of the latest overflow
  std::int64_t hysteresis = 0;      ///< DeepSpeed: overflows left before the scale falls, counting the one that does it
  std::int64_t clean_steps = 0;     ///< Torch: since the scale last changed
  bool operator==(const LossScaleState&) const = default;
};

/// A plain value; pure.
class LossScale {
 public:
  explicit LossScale(const LossScaleOptions& options);
  LossScale(const LossScaleOptions& options, const LossScaleState& state);  ///< goes on from there

  [[nodiscard]] double scale() const { return state_.scale; }
  [[nodiscard]] bool is_dynamic() const { return options_.policy != ScalePolicy::Fixed; }
  [[nodiscard]] const LossScaleState& state() const { return state_; }
  /// After each step, skipped ones included. False: an overflow that no smaller scale can cure (DeepSpeed raises an
  /// error there); the state is as it was.
  [[nodiscard]] bool update(bool overflow);

 private:
  bool update_deepspeed(bool overflow);
  void update_torch(bool overflow);

  LossScaleOptions options_;
  LossScaleState state_;
};

}  // namespace sluice::optim
