#include "train/trainer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "optim/norm.h"
#include "optim/schedule.h"
#include "recipe/support.h"
#include "tier/limits.h"

namespace sluice::train {
namespace {

at::Tensor as_tensor(std::vector<std::int64_t>& values, std::int64_t rows, std::int64_t columns) {
  return at::from_blob(values.data(), {rows, columns}, at::kLong);
}

}  // namespace

std::string to_json(const TrainerState& state, const recipe::Settings& settings) {
  const nlohmann::ordered_json json = {{"step", state.step},
                                       {"applied_updates", state.applied_updates},
                                       {"data_position", state.data_position},
                                       {"best_eval_loss", state.best_eval_loss},
                                       {"best_step", state.best_step},
                                       {"settings", nlohmann::json::parse(recipe::to_json(settings))}};
  return json.dump(1) + "\n";
}

TrainerState trainer_state_from_json(std::string_view text) {
  try {
    const auto json = nlohmann::json::parse(text);
    return {json.at("step").get<std::int64_t>(), json.at("applied_updates").get<std::int64_t>(),
            json.at("data_position").get<std::int64_t>(), json.at("best_eval_loss").get<double>(),
            json.value("best_step", std::int64_t{0})};
  } catch (const nlohmann::json::exception& error) {
    throw FormatError("checkpoint", "trainer_state.json cannot be read", error.what());
  }
}

Evaluation evaluate(Session& session, const data::Dataset& dataset, std::optional<std::int64_t> max_tokens) {
  const std::int64_t size = session.settings.micro_batch_size;
  const std::int64_t length = dataset.seq_len();
  std::int64_t rows = dataset.num_rows();
  if (max_tokens) rows = std::clamp<std::int64_t>(*max_tokens / length, 1, rows);
  Evaluation result;
  double sum = 0;
  std::vector<std::int64_t> ids(size * length), labels(size * length);
  for (std::int64_t first = 0; first < rows; first += size) {
    for (std::int64_t i = 0; i < size; ++i) {
      const std::span row_ids(ids.data() + i * length, length), row_labels(labels.data() + i * length, length);
      dataset.read_row(std::min(first + i, rows - 1), row_ids, row_labels);
      if (first + i >= rows) std::fill(row_labels.begin(), row_labels.end(), data::kIgnoreLabel);
      result.target_tokens += length - 1 - std::count(row_labels.begin() + 1, row_labels.end(), data::kIgnoreLabel);
    }
    const std::vector<model::MicroBatch> batch = {{as_tensor(ids, size, length), as_tensor(labels, size, length)}};
    sum += session.executor->run(*session.plans.evaluate, {.micro_batches = batch, .update = {}}).loss_sum;
  }
  session.executor->drain();
  result.loss = sum / static_cast<double>(std::max<std::int64_t>(result.target_tokens, 1));
  return result;
}

Trainer::Trainer(Session& session, const data::Dataset& dataset, TrainerState state, std::int64_t max_steps)
    : session_(session),
      loader_(dataset, {session.settings.micro_batch_size, session.settings.shuffle, session.settings.seed}),
      state_(state),
      max_steps_(max_steps) {
  loader_.seek(state.data_position);
}

StepOutcome Trainer::step() {
  const auto start = std::chrono::steady_clock::now();
  const tier::ProcessWork before = tier::process_work();
  StepOutcome outcome;
  std::vector<data::Batch> batches;
  std::vector<model::MicroBatch> micro_batches;
  for (std::int64_t i = 0; i < session_.settings.grad_accumulation; ++i) {
    batches.push_back(loader_.next());
    outcome.tokens += batches.back().rows * batches.back().seq_len;
    outcome.target_tokens += batches.back().num_targets;
  }
  for (data::Batch& batch : batches)
    micro_batches.push_back(
        {as_tensor(batch.input_ids, batch.rows, batch.seq_len), as_tensor(batch.labels, batch.rows, batch.seq_len)});
  const double num_targets = static_cast<double>(std::max<std::int64_t>(outcome.target_tokens, 1));
  exec::StepInputs inputs{
      .micro_batches = micro_batches, .gradient_scale = static_cast<float>(1.0 / num_targets), .update = {}};
  if (session_.request.recipe.update == plan::UpdateWhen::Backward) {
    inputs.update = update_args(1.0F);
  } else {
    inputs.apply_update = pending_.has_value();
    if (pending_) inputs.update = *pending_;
  }
  const exec::StepResult result = session_.executor->run(session_.plans.train, inputs);
  outcome.loss = result.loss_sum / num_targets;
  outcome.compute = result.compute;
  outcome.stall = result.stall;
  outcome = finish_step(outcome, std::sqrt(result.sum_of_squares.value()));
  const tier::ProcessWork after = tier::process_work();
  outcome.cpu = after.cpu - before.cpu;
  outcome.minor_faults = after.minor_faults - before.minor_faults;
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return outcome;
}

// The step's rate belongs to its number, whether it is applied now, before the next forward, or skipped.
optim::UpdateArgs Trainer::update_args(float gradient_scale) const {
  const recipe::Settings& settings = session_.settings;
  const optim::ScheduleOptions schedule = recipe::schedule_options(settings, max_steps_);
  return {.lr = optim::schedule_lr(settings.lr_schedule, schedule, state_.applied_updates),
          .weight_decay = settings.weight_decay,
          .step = state_.applied_updates + 1,
          .gradient_scale = gradient_scale,
          .seed = settings.seed};
}

StepOutcome Trainer::finish_step(StepOutcome outcome, double norm) {
  const bool in_backward = session_.request.recipe.update == plan::UpdateWhen::Backward;
  outcome.grad_norm = norm;
  outcome.lr = update_args(1.0F).lr;
  outcome.skipped = !std::isfinite(norm) || !std::isfinite(outcome.loss);
  if (outcome.skipped && in_backward) {
    throw NumericsError(
        "train", "loss or gradient of step " + std::to_string(state_.step + 1) + " is not finite",
        "expected finite values, got loss " + std::to_string(outcome.loss) + " and norm " + std::to_string(norm),
        "lower --lr, or use --update next-forward, which skips such steps");
  }
  pending_.reset();
  if (!outcome.skipped) {
    if (!in_backward) pending_ = update_args(optim::clip_coefficient(norm, session_.settings.max_grad_norm));
    state_.applied_updates += 1;
  }
  state_.step += 1;
  state_.data_position = loader_.position();
  return outcome;
}

void Trainer::flush() {
  if (pending_ && !session_.plans.flush.actions.empty()) {
    session_.executor->drain();
    session_.executor->run(session_.plans.flush, {.micro_batches = {}, .update = *pending_});
  }
  pending_.reset();
  session_.executor->drain();
}

}  // namespace sluice::train
