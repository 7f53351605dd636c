#include "train/trainer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "optim/clip.h"
#include "optim/schedule.h"
#include "plan/exposed.h"
#include "recipe/clipping.h"
#include "recipe/support.h"
#include "tier/limits.h"

namespace sluice::train {
namespace {

at::Tensor as_tensor(std::vector<std::int64_t>& values, std::int64_t rows, std::int64_t columns) {
  return at::from_blob(values.data(), {rows, columns}, at::kLong);
}

nlohmann::ordered_json loss_scale_json(const optim::LossScaleState& state) {
  return {{"scale", state.scale},
          {"iteration", state.iteration},
          {"last_overflow", state.last_overflow},
          {"hysteresis", state.hysteresis},
          {"clean_steps", state.clean_steps}};
}

optim::LossScaleState loss_scale_from_json(const nlohmann::json& json) {
  return {.scale = json.at("scale").get<double>(),
          .iteration = json.at("iteration").get<std::int64_t>(),
          .last_overflow = json.at("last_overflow").get<std::int64_t>(),
          .hysteresis = json.at("hysteresis").get<std::int64_t>(),
          .clean_steps = json.at("clean_steps").get<std::int64_t>()};
}

// One that was saved goes on; a run that begins to adapt, or adapts otherwise than before, begins afresh.
optim::LossScale loss_scale(const recipe::Settings& settings, const TrainerState& state) {
  const optim::LossScaleOptions options = recipe::loss_scale_options(settings);
  return state.loss_scale ? optim::LossScale(options, *state.loss_scale) : optim::LossScale(options);
}

}  // namespace

std::string to_json(const TrainerState& state, const recipe::Settings& settings) {
  nlohmann::ordered_json json = {{"step", state.step},
                                 {"applied_updates", state.applied_updates},
                                 {"data_position", state.data_position},
                                 {"best_eval_loss", state.best_eval_loss},
                                 {"best_step", state.best_step},
                                 {"skipped_in_a_row", state.skipped_in_a_row}};
  if (state.loss_scale) json["loss_scale"] = loss_scale_json(*state.loss_scale);
  json["settings"] = nlohmann::json::parse(recipe::to_json(settings));
  return json.dump(1) + "\n";
}

TrainerState trainer_state_from_json(std::string_view text) {
  try {
    const auto json = nlohmann::json::parse(text);
    return {.step = json.at("step").get<std::int64_t>(),
            .applied_updates = json.at("applied_updates").get<std::int64_t>(),
            .data_position = json.at("data_position").get<std::int64_t>(),
            .best_eval_loss = json.at("best_eval_loss").get<double>(),
            .best_step = json.value("best_step", std::int64_t{0}),
            .skipped_in_a_row = json.value("skipped_in_a_row", std::int64_t{0}),
            .loss_scale = json.contains("loss_scale") ? std::optional(loss_scale_from_json(json.at("loss_scale")))
                                                      : std::nullopt};
  } catch (const nlohmann::json::exception& error) {
    throw FormatError("checkpoint", "trainer_state.json cannot be read", error.what());
  }
}

Evaluation evaluate(Session& session, const data::Dataset& dataset, std::optional<std::int64_t> max_tokens) {
  const std::int64_t size = session.settings.micro_batch_size;
  const std::int64_t length = dataset.seq_len();
  std::int64_t rows = dataset.num_rows();
  if (max_tokens) rows = std::clamp<std::int64_t>(*max_tokens / length, 1, rows);
  const Ranks& ranks = *session.ranks;
  Evaluation result;
  double sum = 0;
  std::vector<std::int64_t> ids(size * length), labels(size * length);
  // Ranks take turns; one that comes too late for the last round evaluates nothing, beside the others.
  for (std::int64_t round = 0; round < rows; round += size * ranks.count()) {
    const std::int64_t first = round + ranks.rank() * size;
    for (std::int64_t i = 0; i < size; ++i) {
      const std::span row_ids(ids.data() + i * length, length), row_labels(labels.data() + i * length, length);
      dataset.read_row(std::min(first + i, rows - 1), row_ids, row_labels);
      if (first + i >= rows) std::fill(row_labels.begin(), row_labels.end(), data::kIgnoreLabel);
      result.target_tokens += length - 1 - std::count(row_labels.begin() + 1, row_labels.end(), data::kIgnoreLabel);
    }
    const std::vector<model::MicroBatch> batch = {{as_tensor(ids, size, length), as_tensor(labels, size, length)}};
    const double loss = session.executor->run(*session.plans.evaluate, {.micro_batches = batch, .update = {}}).loss_sum;
    for (const double of_rank : ranks.collect(loss)) sum += of_rank;
  }
  session.executor->drain();
  result.target_tokens = ranks.sum(result.target_tokens);
  result.loss = sum / static_cast<double>(std::max<std::int64_t>(result.target_tokens, 1));
  return result;
}

Trainer::Trainer(Session& session, const data::Dataset& dataset, TrainerState state, std::int64_t max_steps)
    : session_(session),
      loader_(dataset, {session.settings.micro_batch_size, session.settings.shuffle, session.settings.seed}),
      state_(state),
      max_steps_(max_steps),
      clip_(recipe::clipping(session.settings)),
      scale_(loss_scale(session.settings, state)) {}

StepOutcome Trainer::step() {
  const auto start = std::chrono::steady_clock::now();
  const tier::ProcessWork before = tier::process_work();
  StepOutcome outcome;
  std::vector<data::Batch> batches;
  std::vector<model::MicroBatch> micro_batches;
  const Ranks& ranks = *session_.ranks;
  const std::int64_t sent_before = ranks.bytes_sent(), across_before = ranks.bytes_sent_across_groups();
  for (std::int64_t i = 0; i < session_.settings.grad_accumulation; ++i) {
    loader_.seek(state_.data_position + i * ranks.count() + ranks.rank());
    batches.push_back(loader_.next());
    outcome.tokens += batches.back().rows * batches.back().seq_len;
    outcome.target_tokens += batches.back().num_targets;
  }
  for (data::Batch& batch : batches)
    micro_batches.push_back(
        {as_tensor(batch.input_ids, batch.rows, batch.seq_len), as_tensor(batch.labels, batch.rows, batch.seq_len)});
  outcome.tokens *= ranks.count();
  outcome.target_tokens = ranks.sum(outcome.target_tokens);
  const double num_targets = static_cast<double>(std::max<std::int64_t>(outcome.target_tokens, 1));
  outcome.loss_scale = scale_.scale();
  exec::StepInputs inputs = this->inputs(num_targets);
  inputs.micro_batches = micro_batches;
  const exec::StepResult result = session_.executor->run(session_.plans.train, inputs);
  outcome.loss = result.loss_sum / num_targets;
  outcome.compute = result.compute;
  outcome.stall = result.stall;
  finish_step(outcome, result);
  outcome.sent = ranks.bytes_sent() - sent_before;
  outcome.sent_across_groups = ranks.bytes_sent_across_groups() - across_before;
  if (ranks.are_many()) outcome.rank_waits = rank_waits();
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
  optim::UpdateArgs args{.lr = optim::schedule_lr(settings.lr_schedule, schedule, state_.applied_updates),
                         .weight_decay = settings.weight_decay,
                         .step = state_.applied_updates + 1,
                         .gradient_scale = gradient_scale,
                         .seed = settings.seed};
  if (const auto betas = optim::schedule_betas(settings.lr_schedule, schedule, state_.applied_updates)) {
    args.beta1 = betas->beta1;
    args.beta2 = betas->beta2;
  }
  return args;
}

// What a period applies is the gradient of the step before, whose norm is known, or its own, whose norm it finds.
exec::StepInputs Trainer::inputs(double num_targets) const {
  exec::StepInputs inputs{.micro_batches = {},
                          .gradient_scale = static_cast<float>(scale_.scale() / num_targets),
                          .compresses = state_.step >= session_.settings.compression_warmup_steps,
                          .update = update_args(unscale()),
                          .clip = clip_};
  if (!in_next_forward()) return inputs;
  inputs.apply_update = pending_.has_value();
  if (pending_) inputs.update = *pending_;
  return inputs;
}

void Trainer::finish_step(StepOutcome& outcome, const exec::StepResult& result) {
  const double sum = result.sum_of_squares.value();
  outcome.grad_norm = std::sqrt(sum) / scale_.scale();
  outcome.lr = update_args(1.0F).lr;
  outcome.skipped = !std::isfinite(outcome.grad_norm) || !std::isfinite(outcome.loss);
  pending_.reset();
  if (outcome.skipped) {
    skip(outcome, result);
  } else {
    const double bound = clip_.kind == optim::ClipKind::Total ? clip_.bound : 0;
    if (in_next_forward()) pending_ = update_args(optim::clipped_scale(sum, unscale(), bound));
    state_.applied_updates += 1;
    state_.skipped_in_a_row = 0;
    (void)scale_.update(false);
  }
  if (scale_.is_dynamic()) state_.loss_scale = scale_.state();
  state_.step += 1;
  state_.data_position += session_.ranks->count() * session_.settings.grad_accumulation;
}

// The rank that waits least is the one that the others wait for.
std::vector<Seconds> Trainer::rank_waits() const {
  const plan::Exchanges exchanges = plan::exchanges_of(session_.plans.train, session_.executor->timeline());
  return session_.ranks->collect(exchanges.exposed + exchanges.agreeing);
}

// Throws where it must not go on: weights that have in part been updated, what people asked for, a scale that cannot
// fall, or too many in a row.
void Trainer::skip(StepOutcome& outcome, const exec::StepResult& result) {
  const recipe::Settings& settings = session_.settings;
  const std::string step = "step " + std::to_string(state_.step + 1);
  outcome.not_finite = !std::isfinite(outcome.loss) ? "loss" : "gradient";
  if (std::isfinite(outcome.loss) && result.nonfinite_chunk >= 0)
    outcome.not_finite += " of " + session_.trace.chunks[result.nonfinite_chunk].name;
  const std::string what = outcome.not_finite + " of " + step + " is not finite";
  const std::string got = "expected finite values, got loss " + std::to_string(outcome.loss) + " and norm " +
                          std::to_string(outcome.grad_norm);
  if (result.num_updates > 0 && !in_next_forward()) {
    throw NumericsError("train", what + ", and blocks above are already updated", got,
                        "lower --lr, or use --clip-mode two-pass or --update next-forward, which look before they "
                        "update");
  }
  if (settings.nan_policy == recipe::NanPolicy::Stop && !scale_.is_dynamic())
    throw NumericsError("train", what, got, "lower --lr, or look at the data of this step; --nan-policy skip goes on");
  state_.skipped_in_a_row += 1;
  if (!scale_.update(true)) {
    throw NumericsError("train", what + " even with the smallest loss scale", got,
                        "lower --lr, or --loss-scale-option min_loss_scale");
  }
  if (state_.skipped_in_a_row < settings.max_skipped_steps) return;
  throw NumericsError("train", what + ", the last of " + std::to_string(state_.skipped_in_a_row) + " in a row", got,
                      "lower --lr, or raise --max-skipped-steps");
}

void Trainer::flush() {
  if (pending_ && !session_.plans.flush.actions.empty()) {
    session_.executor->drain();
    session_.executor->run(session_.plans.flush, {.micro_batches = {}, .update = *pending_, .clip = clip_});
  }
  pending_.reset();
  session_.executor->drain();
}

}  // namespace sluice::train
