#include "data/choice_scores.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/formatted.h"

namespace sluice::data {
namespace {

/// By what a sum is divided before choices are compared.
struct Measure {
  const char* name;
  const char* pick;  ///< its key in predictions
  double (*divisor)(const ChoiceItem& item, const ItemScore& score, std::size_t choice);
};

constexpr std::array<Measure, 4> kMeasures = {{
    {"acc", "pick", [](const ChoiceItem&, const ItemScore&, std::size_t) { return 1.0; }},
    {"acc_norm", "pick_norm",
     [](const ChoiceItem& item, const ItemScore&, std::size_t choice) {
       return static_cast<double>(num_characters(item.choices[choice]));
     }},
    {"acc_bytes", "pick_bytes",
     [](const ChoiceItem& item, const ItemScore&, std::size_t choice) {
       return static_cast<double>(item.choices[choice].size());
     }},
    {"acc_tokens", "pick_tokens",
     [](const ChoiceItem&, const ItemScore& score, std::size_t choice) {
       return static_cast<double>(score.num_tokens[choice]);
     }},
}};

// The first of equals, as numpy's argmax.
std::size_t pick(const Measure& measure, const ChoiceItem& item, const ItemScore& score) {
  std::size_t best = 0;
  double highest = 0;
  for (std::size_t choice = 0; choice < item.choices.size(); ++choice) {
    const double value = score.log_likelihoods[choice] / measure.divisor(item, score, choice);
    if (choice == 0 || value > highest) {
      best = choice;
      highest = value;
    }
  }
  return best;
}

void add_line(std::string& text, const std::string& task, const std::string& items, const Accuracy& accuracy) {
  const auto [low, high] = accuracy.interval();
  text += formatted("%-24s %7s  %-11s %8.4f  %8.4f  %.4f to %.4f\n", task.c_str(), items.c_str(), accuracy.name.c_str(),
                    accuracy.value(), accuracy.standard_error(), low, high);
}

}  // namespace

double Accuracy::standard_error() const {
  return items < 2 ? 0 : std::sqrt(value() * (1 - value()) / static_cast<double>(items - 1));
}

std::pair<double, double> Accuracy::interval() const {
  constexpr double kZ = 1.959963984540054;  // 97.5 % of the normal distribution
  const double n = static_cast<double>(items), p = value();
  const double centre = (p + kZ * kZ / (2 * n)) / (1 + kZ * kZ / n);
  const double half = kZ / (1 + kZ * kZ / n) * std::sqrt(p * (1 - p) / n + kZ * kZ / (4 * n * n));
  return {std::max(0.0, centre - half), std::min(1.0, centre + half)};
}

TaskResult summarise(const ChoiceTask& task, const std::vector<ItemScore>& scores) {
  TaskResult result;
  result.name = task.name;
  result.items = static_cast<std::int64_t>(task.items.size());
  if (task.greedy) {
    Accuracy accuracy{.name = "acc", .items = result.items};
    double sum = 0;
    for (const ItemScore& score : scores) {
      accuracy.correct += score.is_greedy ? 1 : 0;
      sum += score.log_likelihoods[0];
    }
    result.accuracies.push_back(accuracy);
    result.perplexity = std::exp(-sum / static_cast<double>(result.items));
    return result;
  }
  for (const ChoiceItem& item : task.items)
    result.chance += 1.0 / static_cast<double>(item.choices.size()) / static_cast<double>(result.items);
  for (const Measure& measure : kMeasures) {
    Accuracy accuracy{.name = measure.name, .items = result.items};
    for (std::size_t i = 0; i < task.items.size(); ++i)
      accuracy.correct += pick(measure, task.items[i], scores[i]) == task.items[i].answer ? 1 : 0;
    result.accuracies.push_back(accuracy);
  }
  return result;
}

std::string to_text(const std::vector<TaskResult>& results) {
  std::string text =
      formatted("%-24s %7s  %-11s %8s  %8s  %s\n", "task", "items", "measure", "value", "stderr", "95 % interval");
  for (const TaskResult& result : results) {
    for (std::size_t i = 0; i < result.accuracies.size(); ++i)
      add_line(text, i == 0 ? result.name : "", i == 0 ? std::to_string(result.items) : "", result.accuracies[i]);
    if (result.perplexity > 0) text += formatted("%-24s %7s  %-11s %8.4f\n", "", "", "perplexity", result.perplexity);
    if (result.chance > 0) text += formatted("%-24s %7s  %-11s %8.4f\n", "", "", "(chance)", result.chance);
  }
  return text;
}

nlohmann::ordered_json to_json(const TaskResult& result) {
  nlohmann::ordered_json json = {
      {"task", result.name}, {"kind", result.chance > 0 ? "multiple_choice" : "target"}, {"items", result.items}};
  for (const Accuracy& accuracy : result.accuracies) {
    const auto [low, high] = accuracy.interval();
    json[accuracy.name] = accuracy.value();
    json[accuracy.name + "_correct"] = accuracy.correct;
    json[accuracy.name + "_stderr"] = accuracy.standard_error();
    json[accuracy.name + "_interval"] = {low, high};
  }
  if (result.chance > 0) json["chance"] = result.chance;
  if (result.perplexity > 0) json["perplexity"] = result.perplexity;
  return json;
}

nlohmann::ordered_json prediction_json(const ChoiceTask& task, std::size_t index, const ItemScore& score) {
  const ChoiceItem& item = task.items[index];
  nlohmann::ordered_json json = {{"task", task.name}, {"id", item.id}};
  if (task.greedy) {
    json["correct"] = score.is_greedy;
  } else {
    json["answer"] = item.answer;
    for (const Measure& measure : kMeasures) json[measure.pick] = pick(measure, item, score);
    json["correct"] = json["pick"] == json["answer"];
  }
  json["log_likelihoods"] = score.log_likelihoods;
  json["num_tokens"] = score.num_tokens;
  return json;
}

}  // namespace sluice::data
