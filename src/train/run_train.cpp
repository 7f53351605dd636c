#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/file.h"
#include "base/log.h"
#include "base/stop.h"
#include "checkpoint/reader.h"
#include "recipe/support.h"
#include "tier/limits.h"
#include "train/loading.h"
#include "train/make_folders.h"
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
      : settings_(settings),
        output_(settings.output),
        data_(open_all()),
        staging_(kStaging),
        session_(settings_, config_, false, data_.held_out != nullptr) {}

  int run() {
    log_info(plan_summary(session_));
    if (settings_.dry_run) return 0;
    make_folders(output_);
    const checkpoint::FolderLock lock(output_);
    session_.side_files = std::move(side_files_);
    session_.reserve();
    load();
    MetricsFile metrics(settings_.metrics.empty() ? output_ / "metrics.jsonl" : fs::path(settings_.metrics));
    records_ = std::make_unique<RunRecords>(session_, metrics);
    records_->start(state_.step, max_steps());
    Trainer trainer(session_, *data_.train, state_, max_steps());
    const int code = loop(trainer);
    finish(trainer, code);
    return code;
  }

 private:
  static constexpr std::size_t kStaging = 1 << 20;  // floats: 4 MiB

  // In this order: what data needs (the tokenizer) must be gone before memory is measured.
  TrainData open_all() {
    recipe::check_supported(settings_);
    RunTokenizer tokenizer = open_tokenizer(settings_);
    config_ = open_run_config(settings_, tokenizer);
    if (config_.dropout > 0) log_warning("the model's config asks for dropout: it is not applied");
    prepare_process(settings_);
    side_files_ = model_side_files(settings_, config_, std::move(tokenizer.files));
    TrainData data = open_train_data(settings_, config_, tokenizer.tokenizer.get());
    settings_.seq_len = data.train->seq_len();
    return data;
  }

  std::int64_t max_steps() const {
    if (settings_.max_steps) return *settings_.max_steps;
    const std::int64_t rows_per_step = settings_.micro_batch_size * settings_.grad_accumulation;
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
      log_info("resuming from " + resumed->folder.string() + " after step " + std::to_string(state_.step));
      const auto weights = checkpoint::open_checkpoint_weights(*resumed);
      const auto states = checkpoint::open_checkpoint_states(*resumed);
      load_state(session_, weights.get(), states.get(), staging_.span());
      return;
    }
    const auto weights = settings_.init_random ? nullptr : format::open_weights(settings_.model);
    load_state(session_, weights.get(), nullptr, staging_.span());
  }

  int loop(Trainer& trainer) {
    const auto start = Clock::now();
    const std::int64_t last = max_steps();
    if (data_.held_out && trainer.state().step == 0) evaluate_now(trainer);
    while (trainer.state().step < last) {
      const StepOutcome outcome = trainer.step();
      records_->step(trainer.state().step, last, outcome);
      const std::int64_t step = trainer.state().step;
      const bool stop = stop_requests() > 0 || (settings_.max_time && since(start) > *settings_.max_time);
      const bool at_end = step == last;
      if (data_.held_out && (at_end || (settings_.eval_steps && step % *settings_.eval_steps == 0)))
        evaluate_now(trainer);
      if (stop && !at_end) {
        save(trainer);
        records_->note("stopped after step " + std::to_string(step) + ", saved: start the same command again to go on");
        return static_cast<int>(ExitCode::Preempted);
      }
      if (settings_.save_steps && (step % *settings_.save_steps == 0 || at_end)) save(trainer);
    }
    return 0;
  }

  void evaluate_now(Trainer& trainer) {
    trainer.flush();
    const Evaluation evaluation = evaluate(session_, *data_.held_out, settings_.max_tokens);
    records_->evaluation(trainer.state().step, evaluation);
    double& best = trainer.state().best_eval_loss;
    if (best == 0 || evaluation.loss < best) best = evaluation.loss;
  }

  void save(Trainer& trainer) {
    trainer.flush();
    save_checkpoint(session_, output_, trainer.state(), staging_.span());
    records_->saved(trainer.state().step);
  }

  void finish(Trainer& trainer, int code) {
    trainer.flush();
    if (code == 0) save_model(session_, output_, staging_.span());
    write_text(output_ / "run.yaml", recipe::to_yaml(settings_));
    records_->end(output_, trainer.state().step);
  }

  recipe::Settings settings_;
  const fs::path output_;
  format::ModelConfig config_;
  std::vector<checkpoint::SideFile> side_files_;
  TrainData data_;
  AlignedFloats staging_;
  Session session_;
  TrainerState state_;
  std::unique_ptr<RunRecords> records_;
};

}  // namespace

int run_train(const recipe::Settings& settings) { return TrainRun(settings).run(); }

}  // namespace sluice::train
