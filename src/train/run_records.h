// What a run says about itself: metrics.jsonl, the progress line, trace.json, and the end record that puts prediction
// and measurement side by side.
#pragma once
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "train/html_report.h"
#include "train/metrics.h"
#include "train/progress.h"
#include "train/trainer.h"

namespace sluice::train {

/// One paragraph for people: model, plan, predicted memory and time.
[[nodiscard]] std::string plan_summary(const Session& session);

/// Why the training loop ends.
enum class StopReason { AllSteps, OutOfTime, Asked };

/// Held by the training loop; one thread.
class RunRecords {
 public:
  RunRecords(Session& session, MetricsFile& metrics);

  void start(std::int64_t first_step, std::int64_t max_steps);
  void step(std::int64_t step, std::int64_t max_steps, const StepOutcome& outcome);
  /// `best`: lower than after any step before.
  void evaluation(std::int64_t step, const Evaluation& evaluation, bool best);
  void saved(std::int64_t step);
  /// The run ends before its last step; what it has is saved.
  void stopped(std::int64_t step, StopReason reason);
  void note(const std::string& text) { progress_.note(text); }
  /// The end record, trace.json, report.html and a line on standard error.
  void end(const std::filesystem::path& output, std::int64_t steps);
  /// Median of the steps so far without the first, which pays for first touches of files and kernels.
  [[nodiscard]] Seconds steady_step_seconds() const;

 private:
  Bytes arena_peak(plan::TierKind kind) const;
  bool has_disk() const { return session_.machine.tier_index(plan::TierKind::Disk) >= 0; }
  void learn(std::int64_t steps_here, std::int64_t max_steps);
  std::vector<StepFigures> forecasts() const;
  /// Per rank, of a steady step; empty for one rank.
  std::vector<Seconds> steady_rank_waits() const;
  RunReport report() const;

  Session& session_;
  MetricsFile& metrics_;
  Progress progress_;
  Bytes disk_read_ = 0, disk_written_ = 0;  // at the end of the step before
  std::vector<std::int64_t> steps_;
  std::vector<double> losses_;
  std::vector<Seconds> step_seconds_, compute_seconds_, stall_seconds_;
  std::vector<Bytes> step_read_, step_written_;
  std::vector<std::vector<Seconds>> rank_waits_;  // per step, per rank
  std::vector<std::pair<std::int64_t, double>> held_out_;
  plan::Timeline measured_, refined_;
  Seconds total_ = 0;
  std::int64_t tokens_ = 0;
};

}  // namespace sluice::train
