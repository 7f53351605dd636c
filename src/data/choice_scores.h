// From log-likelihoods of choices to what people compare: accuracies with their uncertainty, perplexity, tables. The
// measures are those of lm-evaluation-harness (lm_eval/api/task.py) and the mean over tokens.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "data/choice_task.h"

namespace sluice::data {

/// What a model said about one item.
struct ItemScore {
  std::vector<double> log_likelihoods;   ///< per choice, summed over its tokens, natural logarithm
  std::vector<std::int64_t> num_tokens;  ///< per choice
  bool is_greedy = false;                ///< of a target: every token was the model's first choice
};

/// How many of some items a way of choosing got right.
struct Accuracy {
  std::string name;  ///< "acc": largest sum; "acc_norm", "acc_bytes", "acc_tokens": sum by characters, bytes, tokens
  std::int64_t correct = 0, items = 0;
  [[nodiscard]] double value() const { return static_cast<double>(correct) / static_cast<double>(items); }
  /// Of the sample: sqrt(p (1 - p) / (n - 1)).
  [[nodiscard]] double standard_error() const;
  /// Wilson's score interval (JASA 22, 1927) at 95 %.
  [[nodiscard]] std::pair<double, double> interval() const;
};

struct TaskResult {
  std::string name;
  std::int64_t items = 0;
  double chance = 0;                 ///< accuracy of guessing; 0 for targets
  std::vector<Accuracy> accuracies;  ///< "acc" first; of targets only that
  double perplexity = 0;             ///< of targets: exp of the mean of -log-likelihood per item; else 0
};

/// `scores`: one per item of `task`.
[[nodiscard]] TaskResult summarise(const ChoiceTask& task, const std::vector<ItemScore>& scores);

/// A table for people, ending in a newline.
[[nodiscard]] std::string to_text(const std::vector<TaskResult>& results);
/// One object per task.
[[nodiscard]] nlohmann::ordered_json to_json(const TaskResult& result);
/// One line of a predictions file: what was scored, what each way of choosing picked, what is right.
[[nodiscard]] nlohmann::ordered_json prediction_json(const ChoiceTask& task, std::size_t item, const ItemScore& score);

}  // namespace sluice::data
