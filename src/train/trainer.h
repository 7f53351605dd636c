// The training loop: steps through the plan, held-out evaluation, checkpoints, the final model. One object per run.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/folder_lock.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "optim/clip.h"
#include "optim/loss_scale.h"
#include "plan/timeline.h"
#include "train/aligned_floats.h"
#include "train/metrics.h"
#include "train/progress.h"
#include "train/session.h"

namespace sluice::train {

/// What one step was, as metrics.jsonl records it.
struct StepOutcome {
  double loss = 0, grad_norm = 0, lr = 0;
  std::int64_t sent = 0;                ///< bytes, by this rank to others
  std::int64_t sent_across_groups = 0;  ///< of them, out of its group
  std::vector<Seconds> rank_waits;      ///< of several ranks, each: how long it stood in exchanges that nothing hid
  double loss_scale = 1;                ///< with which this step's gradients were made
  std::int64_t tokens = 0, target_tokens = 0;
  Seconds seconds = 0, compute = 0, stall = 0;
  Seconds cpu = 0;                ///< of all threads; cores x seconds - cpu is what stood idle
  std::int64_t minor_faults = 0;  ///< pages touched for the first time
  bool skipped = false;
  std::string not_finite;  ///< of a skipped step: what was not, for people
};

/// Counters that a checkpoint keeps; everything else follows from them and the settings.
struct TrainerState {
  std::int64_t step = 0;  ///< steps done, skipped ones included
  std::int64_t applied_updates = 0;
  std::int64_t data_position = 0;  ///< micro-batches consumed, by all ranks
  double best_eval_loss = 0;       ///< of the evaluations after a step; 0: none yet
  std::int64_t best_step = 0;      ///< after which it was found
  std::int64_t skipped_in_a_row = 0;
  std::optional<optim::LossScaleState> loss_scale = {};  ///< of a scale that adapts
};

[[nodiscard]] std::string to_json(const TrainerState& state, const recipe::Settings& settings);
[[nodiscard]] TrainerState trainer_state_from_json(std::string_view text);

/// Mean loss over held-out rows.
struct Evaluation {
  double loss = 0;
  std::int64_t target_tokens = 0;
};

/// Runs `session.plans.evaluate` over `dataset` in file order, at most `max_tokens` tokens of it. Nothing may be
/// pending.
[[nodiscard]] Evaluation evaluate(Session& session, const data::Dataset& dataset,
                                  std::optional<std::int64_t> max_tokens);

/// One optimizer step at a time.
class Trainer {
 public:
  Trainer(Session& session, const data::Dataset& dataset, TrainerState state, std::int64_t max_steps);

  StepOutcome step();
  /// Applies what is pending; afterwards State holds the weights after `state().step` steps.
  void flush();
  [[nodiscard]] const TrainerState& state() const { return state_; }
  [[nodiscard]] TrainerState& state() { return state_; }

 private:
  optim::UpdateArgs update_args(float gradient_scale) const;
  exec::StepInputs inputs(double num_targets) const;
  void finish_step(StepOutcome& outcome, const exec::StepResult& result);
  std::vector<Seconds> rank_waits() const;
  void skip(StepOutcome& outcome, const exec::StepResult& result);
  float unscale() const { return static_cast<float>(1 / scale_.scale()); }
  bool in_next_forward() const { return session_.request.recipe.update == plan::UpdateWhen::NextForward; }

  Session& session_;
  data::Loader loader_;
  TrainerState state_;
  const std::int64_t max_steps_;
  const optim::Clipping clip_;
  optim::LossScale scale_;
  std::optional<optim::UpdateArgs> pending_;  // of a gradient that waits for its update
};

}  // namespace sluice::train
