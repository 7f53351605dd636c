#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/file.h"
#include "base/log.h"
#include "base/stop.h"
#include "checkpoint/reader.h"
#include "launch/environment.h"
#include "recipe/support.h"
#include "tier/limits.h"
#include "train/loading.h"
#include "train/make_folders.h"
#include "train/quick_machine.h"
#include "train/ranks.h"
#include "train/run_data.h"
#include "train/run_records.h"
#include "train/saving.h"
#include "train/trainer.h"
#include "train/verbs.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

Seconds since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// One run from its folder's lock to its end record.
class TrainRun {
 public:
  explicit TrainRun(const recipe::Settings& settings)
      : asked_(settings),
        environment_(launch::detect()),
        settings_(settings_of_rank(resolve_model(settings), environment_.place)),
        output_(settings.output),
        data_(open_all()),
        staging_(kStaging),
        session_(settings_, config_, data_.held_out != nullptr, ranks_) {}

  // Of several ranks the first owns the output folder and speaks; the others work and give it what they hold.
  int run() {
    if (ranks_->is_first()) log_info(plan_summary(session_));
    if (settings_.dry_run) return 0;
    std::optional<checkpoint::FolderLock> lock;
    std::optional<MetricsFile> metrics;
    ranks_->first_then_others([&] {
      if (!ranks_->is_first()) return;
      make_folders(output_);
      lock.emplace(output_);
    });
    if (session_.run_model.trains_base) session_.base_side_files = side_files_;
    session_.side_files = run_side_files(session_.run_model, std::move(side_files_));
    session_.reserve();
    load();
    if (ranks_->is_first()) {
      metrics.emplace(settings_.metrics.empty() ? output_ / "metrics.jsonl" : fs::path(settings_.metrics));
      records_ = std::make_unique<RunRecords>(session_, *metrics);
      records_->start(state_.step, max_steps());
    }
    Trainer trainer(session_, *data_.train, state_, max_steps());
    const StopReason reason = loop(trainer);
    finish(trainer, reason);
    return reason == StopReason::Asked ? static_cast<int>(ExitCode::Preempted) : 0;
  }

 private:
  static constexpr std::size_t kStaging = 1 << 20;  // floats: 4 MiB

  // In this order: what data needs (the tokenizer) must be gone before memory is measured.
  TrainData open_all() {
    recipe::check_supported(settings_);
    RunTokenizer tokenizer = open_tokenizer(settings_);
    config_ = open_run_config(settings_, tokenizer);
    if (config_.dropout > 0) log_warning("the model's config asks for dropout: it is not applied");
    for (const std::string& folder : settings_.spill_dir) {
      if (!settings_.dry_run) make_folders(folder);  // the quick measurement looks at their disk
    }
    if (environment_.place.rank == 0) measure_unknown_machine(settings_);
    ranks_ = std::make_shared<const Ranks>(environment_, settings_);
    prepare_process(settings_);
    side_files_ = model_side_files(settings_, config_, std::move(tokenizer.files));
    TrainData data;
    ranks_->first_then_others([&] { data = open_train_data(settings_, config_, tokenizer); });
    settings_.seq_len = data.train->seq_len();
    return data;
  }

  std::int64_t max_steps() const {
    if (settings_.max_steps) return *settings_.max_steps;
    const std::int64_t rows_per_step = settings_.micro_batch_size * settings_.grad_accumulation * ranks_->count();
    const double steps = static_cast<double>(data_.train->num_rows()) * settings_.epochs.value_or(1.0) /
                         static_cast<double>(rows_per_step);
    return std::max<std::int64_t>(1, std::llround(std::ceil(steps)));
  }

  void load() {
    std::optional<checkpoint::Checkpoint> resumed;
    if (settings_.resume == "auto")
      resumed = checkpoint::find_checkpoint(output_);
    else if (settings_.resume != "never")
      resumed = checkpoint::open_checkpoint(settings_.resume);
    if (resumed) {
      state_ = trainer_state_from_json(resumed->trainer_state_json);
      if (ranks_->is_first())
        log_info("resuming from " + resumed->folder.string() + " after step " + std::to_string(state_.step));
      const auto weights =
          open_run_weights(settings_, session_.run_model, checkpoint::open_checkpoint_weights(*resumed));
      const auto states = checkpoint::open_checkpoint_states(*resumed);
      load_state(session_, weights.get(), states.get(), staging_.span());
      load_residuals(session_, checkpoint::open_checkpoint_residuals(*resumed).get(), staging_.span());
      forget_lost_best();
      return;
    }
    load_state(session_, open_run_weights(settings_, session_.run_model).get(), nullptr, staging_.span());
    load_residuals(session_, nullptr, staging_.span());
  }

  // The run's settings, not a rank's share of them.
  recipe::Settings as_asked() const {
    recipe::Settings settings = settings_;
    if (!ranks_->are_many()) return settings;
    settings.host_memory = asked_.host_memory;
    settings.disk_memory = asked_.disk_memory;
    settings.threads = asked_.threads;
    settings.nproc = asked_.nproc;
    return settings;
  }

  fs::path best_folder() const { return output_ / ("checkpoint-" + std::to_string(state_.best_step)); }

  // The run so far may not have been told to keep it.
  void forget_lost_best() {
    if (!settings_.keep_best || state_.best_step == 0 || fs::exists(best_folder())) return;
    log_warning(best_folder().string() + " of the best held-out loss so far is gone: --keep-best starts afresh");
    state_.best_step = 0;
  }

  StopReason loop(Trainer& trainer) {
    const std::int64_t last = max_steps();
    if (data_.held_out && trainer.state().step == 0) evaluate_now(trainer);
    while (trainer.state().step < last) {
      const StepOutcome outcome = trainer.step();
      if (records_) records_->step(trainer.state().step, last, outcome);
      const std::int64_t step = trainer.state().step;
      const std::int64_t wishes = step < last ? ranks_->max(stop_requests() > 0 ? 2 : time_is_up() ? 1 : 0) : 0;
      const bool asked = wishes == 2, out_of_time = wishes == 1;
      const bool at_end = step == last || out_of_time;
      if (data_.held_out && (at_end || (settings_.eval_steps && step % *settings_.eval_steps == 0)))
        evaluate_now(trainer);
      if (asked || out_of_time || (settings_.save_steps && (step % *settings_.save_steps == 0 || at_end)))
        save(trainer);
      if (asked) return StopReason::Asked;
      if (out_of_time) return StopReason::OutOfTime;
    }
    return StopReason::AllSteps;
  }

  // A step that would not end in time is not begun.
  bool time_is_up() const {
    return records_ && settings_.max_time && since(start_) + records_->steady_step_seconds() > *settings_.max_time;
  }

  void evaluate_now(Trainer& trainer) {
    trainer.flush();
    TrainerState& state = trainer.state();
    const Evaluation evaluation = evaluate(session_, *data_.held_out, settings_.max_tokens);
    const bool best = state.step > 0 && (state.best_step == 0 || evaluation.loss < state.best_eval_loss);
    if (best) {
      state.best_eval_loss = evaluation.loss;
      state.best_step = state.step;
    }
    if (records_) records_->evaluation(state.step, evaluation, best);
    if (best && settings_.keep_best) save(trainer);
  }

  // Once a step, though several reasons may ask for it.
  void save(Trainer& trainer) {
    if (saved_step_ == trainer.state().step) return;
    trainer.flush();
    save_checkpoint(session_, output_, trainer.state(), staging_.span());
    saved_step_ = trainer.state().step;
    if (records_) records_->saved(saved_step_);
  }

  void finish(Trainer& trainer, StopReason reason) {
    trainer.flush();
    state_ = trainer.state();
    if (records_ && reason != StopReason::AllSteps) records_->stopped(state_.step, reason);
    if (reason != StopReason::Asked) write_model(state_.step);
    if (!records_) return;
    write_text(output_ / "run.yaml", recipe::to_yaml(as_asked()));
    records_->end(output_, state_.step);
  }

  void write_model(std::int64_t step) {
    std::unique_ptr<format::WeightSource> best;
    if (settings_.keep_best && state_.best_step > 0 && state_.best_step < step) best = open_best();
    save_model(session_, output_, staging_.span(), best.get());
    if (best && records_) records_->note("the model is that after step " + std::to_string(state_.best_step));
  }

  // What was trained is not lost over a damaged file: without the best there is the last.
  std::unique_ptr<format::WeightSource> open_best() const {
    try {
      return checkpoint::open_checkpoint_weights(checkpoint::open_checkpoint(best_folder()));
    } catch (const Error& error) {
      log_warning(std::string("the best weights cannot be read, the last are saved: ") + error.what());
      return nullptr;
    }
  }

  const Clock::time_point start_ = Clock::now();
  const recipe::Settings asked_;
  const launch::Environment environment_;
  std::shared_ptr<const Ranks> ranks_;
  recipe::Settings settings_;
  const fs::path output_;
  format::ModelConfig config_;
  std::vector<checkpoint::SideFile> side_files_;
  TrainData data_;
  AlignedFloats staging_;
  Session session_;
  TrainerState state_;
  std::int64_t saved_step_ = -1;
  std::unique_ptr<RunRecords> records_;
};

}  // namespace

int run_train(const recipe::Settings& settings) { return TrainRun(settings).run(); }

}  // namespace sluice::train
