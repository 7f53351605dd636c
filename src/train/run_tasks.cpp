// eval --tasks: items of choices and targets to log-likelihoods, accuracies and files.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/formatted.h"
#include "base/log.h"
#include "base/stop.h"
#include "data/choice_scores.h"
#include "data/choice_task.h"
#include "recipe/parse_value.h"
#include "recipe/support.h"
#include "train/budget.h"
#include "train/row_scorer.h"
#include "train/run_data.h"
#include "train/session.h"
#include "train/verbs.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

/// A task and, per choice of its items in their order, how many tokens are scored.
struct EncodedTask {
  data::ChoiceTask task;
  std::vector<std::int64_t> num_targets;
};

class TaskRun {
 public:
  explicit TaskRun(const recipe::Settings& settings) : settings_(settings), config_(open_config(settings)) {}

  int run() {
    encode_all();
    const auto start = Clock::now();
    std::vector<std::vector<data::ItemScore>> scores(tasks_.size());
    if (!score(scores)) return static_cast<int>(ExitCode::Interrupted);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    std::vector<data::TaskResult> results;
    for (std::size_t t = 0; t < tasks_.size(); ++t) results.push_back(data::summarise(tasks_[t].task, scores[t]));
    std::printf("%s", data::to_text(results).c_str());
    log_info(formatted("%ld texts, %ld tokens in %.1f s (%.1f tokens/s, loading included)",
                       static_cast<long>(num_texts()), static_cast<long>(num_tokens_), seconds,
                       static_cast<double>(num_tokens_) / seconds));
    if (!settings_.json.empty()) write_json(results, seconds);
    if (!settings_.predictions.empty()) write_predictions(scores);
    return 0;
  }

 private:
  // The tokenizer is gone before memory is measured.
  void encode_all() {
    const RunTokenizer run = open_tokenizer(settings_);
    if (run.tokenizer == nullptr)
      throw ConfigError("eval", "the model has no tokenizer", "", "give one with --tokenizer");
    prepare_process(settings_);
    const bool one_path = fs::exists(settings_.tasks);  // it may hold a comma
    for (const std::string& file :
         one_path ? std::vector<std::string>{settings_.tasks} : recipe::split_list(settings_.tasks))
      tasks_.push_back(encode(file, *run.tokenizer));
  }

  EncodedTask encode(const fs::path& file, const data::Tokenizer& tokenizer) {
    EncodedTask encoded{data::read_choice_task(file, settings_.limit), {}};
    const data::ChoiceTask& task = encoded.task;
    std::optional<data::ChoiceTask> examples;
    if (settings_.few_shot > 0)
      examples = data::read_choice_task(settings_.few_shot_data.empty() ? file : fs::path(settings_.few_shot_data));
    const data::ContinuationOptions options{start_token(tokenizer), settings_.add_bos};
    std::int64_t shortened = 0;
    for (std::size_t i = 0; i < task.items.size(); ++i) {
      const data::ChoiceItem& item = task.items[i];
      const std::string where = file.string() + ", item " + item.id;
      std::string context = item.context;
      if (examples) context = few_shot_prefix({&*examples, settings_.few_shot, settings_.seed}, item, i) + context;
      for (std::size_t choice = 0; choice < item.choices.size(); ++choice) {
        auto& row =
            (task.greedy ? targets_ : choices_)
                .emplace_back(data::encode_continuation(tokenizer, context, item.continuation(choice), options, where));
        shortened += data::shorten_context(row, config_.max_position_embeddings, where) ? 1 : 0;
        check_ids(row, where);
        encoded.num_targets.push_back(row.num_targets());
        num_tokens_ += static_cast<std::int64_t>(row.ids.size());
      }
    }
    log_info(task.name + ": " + std::to_string(task.items.size()) + " items, " +
             std::to_string(encoded.num_targets.size()) + " texts to score");
    if (shortened > 0)
      log_warning(std::to_string(shortened) + " texts of " + task.name + " are longer than the model's " +
                  std::to_string(config_.max_position_embeddings) + " positions: their contexts lost their beginnings");
    return encoded;
  }

  std::optional<std::int32_t> start_token(const data::Tokenizer& tokenizer) const {
    if (config_.bos_token_id) return static_cast<std::int32_t>(*config_.bos_token_id);
    if (tokenizer.eos_id()) return tokenizer.eos_id();
    if (settings_.add_bos)
      throw ConfigError("eval", "--add-bos has nothing to add", "expected the model to name a BOS or EOS token");
    return std::nullopt;
  }

  void check_ids(const data::EncodedContinuation& row, const std::string& where) const {
    for (const std::int32_t id : row.ids) {
      if (id < config_.vocab_size) continue;
      throw FormatError(
          "eval", "token ids do not fit the model",
          "expected ids below " + std::to_string(config_.vocab_size) + ", got " + std::to_string(id) + " in " + where,
          "use the tokenizer that belongs to the model");
    }
  }

  // All files with choices in one session, then all with targets in another. False: the user asked to stop.
  bool score(std::vector<std::vector<data::ItemScore>>& scores) const {
    std::vector<double> sums;
    std::vector<GreedyScore> greedy;
    if (!choices_.empty()) sums = score_rows(settings_, config_, choices_);
    if (!targets_.empty() && stop_requests() == 0) greedy = score_greedily(settings_, config_, targets_);
    if (stop_requests() > 0) return false;
    std::size_t next_sum = 0, next_target = 0;
    for (std::size_t t = 0; t < tasks_.size(); ++t) {
      const EncodedTask& task = tasks_[t];
      std::size_t row = 0;
      for (const data::ChoiceItem& item : task.task.items) {
        data::ItemScore& score = scores[t].emplace_back();
        for (std::size_t choice = 0; choice < item.choices.size(); ++choice) {
          score.num_tokens.push_back(task.num_targets[row++]);
          if (task.task.greedy) {
            score.is_greedy = greedy[next_target].is_greedy;
            score.log_likelihoods.push_back(greedy[next_target++].log_likelihood);
          } else {
            score.log_likelihoods.push_back(sums[next_sum++]);
          }
        }
      }
    }
    return true;
  }

  [[nodiscard]] std::size_t num_texts() const { return choices_.size() + targets_.size(); }

  void write_json(const std::vector<data::TaskResult>& results, double seconds) const {
    nlohmann::ordered_json json = {{"model", settings_.model}, {"few_shot", settings_.few_shot},
                                   {"texts", num_texts()},     {"tokens", num_tokens_},
                                   {"seconds", seconds},       {"tasks", nlohmann::ordered_json::array()}};
    for (const data::TaskResult& result : results) json["tasks"].push_back(data::to_json(result));
    write_text(settings_.json, json.dump() + "\n");
  }

  void write_predictions(const std::vector<std::vector<data::ItemScore>>& scores) const {
    FileWriter writer(settings_.predictions);
    for (std::size_t t = 0; t < tasks_.size(); ++t) {
      for (std::size_t i = 0; i < scores[t].size(); ++i)
        writer.append(data::prediction_json(tasks_[t].task, i, scores[t][i]).dump() + "\n");
    }
    writer.publish();
  }

  const recipe::Settings& settings_;
  const format::ModelConfig config_;
  std::vector<EncodedTask> tasks_;
  std::vector<data::EncodedContinuation> choices_, targets_;  // of all tasks
  std::int64_t num_tokens_ = 0;
};

}  // namespace

int run_tasks(const recipe::Settings& settings) { return TaskRun(settings).run(); }

}  // namespace sluice::train
