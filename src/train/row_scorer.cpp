#include "train/row_scorer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "base/stop.h"
#include "data/dataset.h"
#include "model/cpu_allocator.h"
#include "plan/workspace.h"
#include "recipe/device.h"
#include "recipe/support.h"
#include "train/aligned_floats.h"
#include "train/generator.h"
#include "train/loading.h"
#include "train/session.h"

namespace sluice::train {
namespace {

using Clock = std::chrono::steady_clock;
using data::EncodedContinuation;

/// A session's memory and the allocator's use of it end together.
class LoadedSession {
 public:
  template <typename Shape>
  LoadedSession(const recipe::Settings& settings, const format::ModelConfig& config, const Shape& shape)
      : staging_(1 << 20), session(settings, config, shape) {
    session.reserve();
    const auto weights = settings.init_random ? nullptr : format::open_weights(settings.model);
    load_state(session, weights.get(), nullptr, staging_.span());
  }
  ~LoadedSession() { model::use_workspace(nullptr, 0); }
  LoadedSession(const LoadedSession&) = delete;
  LoadedSession& operator=(const LoadedSession&) = delete;

 private:
  AlignedFloats staging_;

 public:
  Session session;
};

/// A line on standard error every half minute.
class ScoringProgress {
 public:
  explicit ScoringProgress(std::size_t total) : total_(total) {}
  void done(std::size_t count) {
    const Clock::time_point now = Clock::now();
    if (now - said_ < std::chrono::seconds(30) || count == 0) return;
    said_ = now;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double left = seconds * static_cast<double>(total_ - count) / static_cast<double>(count);
    log_info("scored " + std::to_string(count) + " of " + std::to_string(total_) + " texts, about " +
             std::to_string(std::llround(left)) + " s left");
  }

 private:
  std::size_t total_;
  Clock::time_point start_ = Clock::now(), said_ = start_;
};

void require_finite(double sum, std::size_t row) {
  if (std::isfinite(sum)) return;
  throw NumericsError("eval", "the log-likelihood of text " + std::to_string(row + 1) + " is not finite",
                      "expected a number, got " + std::to_string(sum), "check the model's weights");
}

// An eighth more at most, so that shapes are few: 16, 24, 32, 40, 48, 56, 64, 80, ... 128, 144, 160, ...
std::int64_t rounded_length(std::int64_t length) {
  std::int64_t step = 8;
  while (length > 8 * step) step *= 2;
  return std::max<std::int64_t>(16, round_up(length, step));
}

/// Lengths to which rows are padded: every one runs in the memory that is planned for the longest.
class RowLengths {
 public:
  RowLengths(const format::ModelConfig& config, recipe::DType compute, std::span<const EncodedContinuation> rows)
      : model_(model::make_model(config, {.compute = compute})) {
    for (const EncodedContinuation& row : rows) (void)lengths_[padded(row, config)];
    longest_ = lengths_.rbegin()->first;
    const std::vector<Bytes> most = workspaces(longest_);
    // Smaller tensors may fragment a workspace more. Then the next length serves.
    for (auto& [length, fits] : lengths_) {
      const std::vector<Bytes> needed = length == longest_ ? most : workspaces(length);
      fits = std::ranges::equal(needed, most, [](Bytes a, Bytes b) { return a <= b; });
    }
  }

  [[nodiscard]] std::int64_t longest() const { return longest_; }
  [[nodiscard]] std::int64_t shortest() const { return next(0); }
  [[nodiscard]] std::int64_t next(std::int64_t length) const {
    auto found = lengths_.lower_bound(length);
    while (!found->second) ++found;
    return found->first;
  }

 private:
  static std::int64_t padded(const EncodedContinuation& row, const format::ModelConfig& config) {
    return std::min(rounded_length(static_cast<std::int64_t>(row.ids.size())), config.max_position_embeddings);
  }

  // Per block. The library's buffers for the products of this length are made on the way.
  std::vector<Bytes> workspaces(std::int64_t length) const {
    const plan::StepTrace trace = model::trace_model(model_, {1, length});
    warm_products(trace);
    return plan::replay_workspace(plan::emit_rows(plan::Variant::Evaluate, trace, {.rules = {{}}}, {}, 0));
  }

  const model::Model model_;
  std::map<std::int64_t, bool> lengths_;  // and whether it fits
  std::int64_t longest_ = 0;
};

/// A row as the model takes it: padding behind the text is seen by no token of it.
struct PaddedRow {
  std::vector<std::int64_t> ids, labels;

  PaddedRow(const EncodedContinuation* row, std::int64_t length)
      : ids(static_cast<std::size_t>(length), 0), labels(ids.size(), data::kIgnoreLabel) {
    if (row == nullptr) return;
    std::ranges::copy(row->ids, ids.begin());
    std::copy(row->ids.begin() + row->num_context, row->ids.end(), labels.begin() + row->num_context);
  }
  [[nodiscard]] model::MicroBatch micro_batch() {
    const auto length = static_cast<std::int64_t>(ids.size());
    return {at::from_blob(ids.data(), {1, length}, at::kLong), at::from_blob(labels.data(), {1, length}, at::kLong)};
  }
};

// The continuation token by token.
GreedyScore score_one(Session& session, const EncodedContinuation& row) {
  Generator generator(session);
  GreedyScore score{.log_likelihood = 0, .is_greedy = true};
  const std::span<const std::int32_t> ids(row.ids);
  std::span<const float> logits = generator.feed(ids.first(static_cast<std::size_t>(row.num_context)));
  for (auto at = static_cast<std::size_t>(row.num_context);; ++at) {
    const auto best = static_cast<std::size_t>(std::ranges::max_element(logits) - logits.begin());
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - logits[best]);
    score.log_likelihood +=
        static_cast<double>(logits[static_cast<std::size_t>(ids[at])]) - logits[best] - std::log(sum);
    score.is_greedy = score.is_greedy && best == static_cast<std::size_t>(ids[at]);
    if (at + 1 == ids.size()) return score;
    logits = generator.feed(ids.subspan(at, 1));
  }
}

}  // namespace

std::vector<double> score_rows(const recipe::Settings& asked, const format::ModelConfig& config,
                               std::span<const EncodedContinuation> rows) {
  // Weights that wait below come up once a period: enough rows to compute on meanwhile.
  constexpr int kRowsPerRead = 16;
  const RowLengths lengths(config, recipe::compute_format(asked), rows);
  recipe::Settings settings = asked;
  settings.micro_batch_size = 1;
  settings.seq_len = lengths.longest();
  const bool streamed = !settings.spill_dir.empty() || recipe::device_choice(settings).emulated;
  const auto at_once = static_cast<std::size_t>(streamed ? kRowsPerRead : 1);
  LoadedSession loaded(settings, config, EvaluationShape{static_cast<int>(at_once)});
  Session& session = loaded.session;
  ScoringProgress progress(rows.size());
  std::vector<double> sums;
  for (std::size_t first = 0; first < rows.size() && stop_requests() == 0; first += at_once) {
    std::vector<PaddedRow> padded;
    std::vector<model::MicroBatch> batch;
    for (std::size_t i = first; i < first + at_once; ++i) {
      const EncodedContinuation* row = i < rows.size() ? &rows[i] : nullptr;
      padded.emplace_back(
          row, row == nullptr ? lengths.shortest() : lengths.next(static_cast<std::int64_t>(row->ids.size())));
    }
    for (PaddedRow& row : padded) batch.push_back(row.micro_batch());
    const auto result = session.executor->run(*session.plans.evaluate, {.micro_batches = batch, .update = {}});
    for (std::size_t i = first; i < std::min(first + at_once, rows.size()); ++i) {
      sums.push_back(-result.losses[i - first]);
      require_finite(sums.back(), i);
    }
    progress.done(sums.size());
  }
  session.executor->drain();
  return sums;
}

std::vector<GreedyScore> score_greedily(const recipe::Settings& settings, const format::ModelConfig& config,
                                        std::span<const EncodedContinuation> rows) {
  std::size_t longest = 0;
  for (const EncodedContinuation& row : rows) longest = std::max(longest, row.ids.size());
  LoadedSession loaded(settings, config, generation_shape(static_cast<std::int64_t>(longest)));
  ScoringProgress progress(rows.size());
  std::vector<GreedyScore> scores;
  for (const EncodedContinuation& row : rows) {
    if (stop_requests() > 0) break;
    scores.push_back(score_one(loaded.session, row));
    require_finite(scores.back().log_likelihood, scores.size() - 1);
    progress.done(scores.size());
  }
  loaded.session.executor->drain();
  return scores;
}

}  // namespace sluice::train
