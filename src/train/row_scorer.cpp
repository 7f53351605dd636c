#include "train/row_scorer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "base/stop.h"
#include "data/dataset.h"
#include "model/cpu_allocator.h"
#include "plan/workspace.h"
#include "recipe/device.h"
#include "train/aligned_floats.h"
#include "train/generator.h"
#include "train/loading.h"
#include "train/run_model.h"
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
    load_state(session, open_run_weights(settings, session.run_model).get(), nullptr, staging_.span());
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

/// Shapes of passes: rows padded to one length, as many as make some hundred tokens, so that a row's figure depends on
/// its length alone. All run in the memory that is planned for the largest.
class PassShapes {
 public:
  PassShapes(const recipe::Settings& settings, const format::ModelConfig& config,
             std::span<const EncodedContinuation> rows)
      : model_(make_run_model(settings, config).model) {
    for (const EncodedContinuation& row : rows) (void)num_rows_[padded(row, config)];
    const std::int64_t longest = num_rows_.rbegin()->first;
    planned_ = {(kTokens + longest - 1) / longest, longest};
    const std::vector<Bytes> most = workspaces(planned_);
    for (auto& [length, count] : num_rows_) {
      const std::int64_t wanted = std::max<std::int64_t>(1, kTokens / length);
      if (fits(workspaces({wanted, length}), most)) count = wanted;
    }
    if (num_rows_[longest] == 0) num_rows_[longest] = planned_.micro_batch_size;
  }

  [[nodiscard]] model::BatchShape planned() const { return planned_; }
  /// Of a pass whose longest row has so many tokens.
  [[nodiscard]] model::BatchShape shape(std::int64_t length) const {
    auto found = num_rows_.lower_bound(length);
    while (found->second == 0) ++found;
    return {found->second, found->first};
  }

 private:
  static constexpr std::int64_t kTokens = 256;

  static std::int64_t padded(const EncodedContinuation& row, const format::ModelConfig& config) {
    return std::min(rounded_length(static_cast<std::int64_t>(row.ids.size())), config.max_position_embeddings);
  }

  // Smaller tensors may fragment a workspace more. Then the next length serves.
  static bool fits(const std::vector<Bytes>& needed, const std::vector<Bytes>& most) {
    return std::ranges::equal(needed, most, [](Bytes a, Bytes b) { return a <= b; });
  }

  // Per block. The library's buffers for the products of this shape are made on the way.
  std::vector<Bytes> workspaces(model::BatchShape shape) const {
    const plan::StepTrace trace = model::trace_model(model_, shape);
    warm_products(trace);
    return plan::replay_workspace(plan::emit_rows(plan::Variant::Evaluate, trace, {.rules = {{}}}, {}, 0));
  }

  const model::Model model_;
  std::map<std::int64_t, std::int64_t> num_rows_;  // by length; 0: does not fit
  model::BatchShape planned_;
};

/// Rows as the model takes them: padding behind a text is seen by no token of it, and rows without a text are ignored.
class Pass {
 public:
  explicit Pass(model::BatchShape shape)
      : shape_(shape),
        ids_(static_cast<std::size_t>(shape.micro_batch_size * shape.seq_len), 0),
        labels_(ids_.size(), data::kIgnoreLabel) {}

  void set(std::int64_t index, const EncodedContinuation& row) {
    const auto first = static_cast<std::ptrdiff_t>(index * shape_.seq_len);
    std::ranges::copy(row.ids, ids_.begin() + first);
    std::copy(row.ids.begin() + row.num_context, row.ids.end(), labels_.begin() + first + row.num_context);
  }
  [[nodiscard]] std::int64_t num_rows() const { return shape_.micro_batch_size; }
  [[nodiscard]] model::MicroBatch micro_batch() {
    const std::int64_t sizes[] = {shape_.micro_batch_size, shape_.seq_len};
    return {at::from_blob(ids_.data(), sizes, at::kLong), at::from_blob(labels_.data(), sizes, at::kLong)};
  }

 private:
  model::BatchShape shape_;
  std::vector<std::int64_t> ids_, labels_;
};

std::vector<std::size_t> longest_first(std::span<const EncodedContinuation> rows) {
  std::vector<std::size_t> order(rows.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::ranges::greater{}, [&](std::size_t i) { return rows[i].ids.size(); });
  return order;
}

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
  // Weights that wait below come up once a period: enough passes to compute on meanwhile.
  constexpr std::size_t kPassesPerRead = 4;
  const PassShapes shapes(asked, config, rows);
  recipe::Settings settings = asked;
  settings.micro_batch_size = shapes.planned().micro_batch_size;
  settings.seq_len = shapes.planned().seq_len;
  const bool streamed = !settings.spill_dir.empty() || recipe::device_choice(settings).kind != recipe::DeviceKind::Cpu;
  const std::size_t at_once = streamed ? kPassesPerRead : 1;
  LoadedSession loaded(settings, config, EvaluationShape{static_cast<int>(at_once)});
  Session& session = loaded.session;
  ScoringProgress progress(rows.size());
  const std::vector<std::size_t> order = longest_first(rows);
  std::vector<double> sums(rows.size());
  for (std::size_t done = 0; done < order.size() && stop_requests() == 0; progress.done(done)) {
    std::vector<Pass> passes;
    std::vector<std::optional<std::size_t>> of_row;  // which text is in each row of the passes
    std::size_t next = done;
    while (passes.size() < at_once) {
      Pass& pass = passes.emplace_back(
          shapes.shape(next < order.size() ? static_cast<std::int64_t>(rows[order[next]].ids.size()) : 0));
      for (std::int64_t r = 0; r < pass.num_rows(); ++r) {
        if (next < order.size()) pass.set(r, rows[order[next]]);
        of_row.push_back(next < order.size() ? std::optional(order[next++]) : std::nullopt);
      }
    }
    std::vector<model::MicroBatch> batch;
    for (Pass& pass : passes) batch.push_back(pass.micro_batch());
    const auto result = session.executor->run(*session.plans.evaluate, {.micro_batches = batch, .update = {}});
    for (std::size_t r = 0; r < of_row.size(); ++r) {
      if (!of_row[r]) continue;
      sums[*of_row[r]] = -result.row_losses[r];
      require_finite(sums[*of_row[r]], *of_row[r]);
    }
    done = next;
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
