#include "recipe/deepspeed_rules.h"

#include "recipe/parse_value.h"

namespace sluice::recipe {
namespace {

struct Row {
  const char* type;
  const char* rule;
  const char* lr;
  std::vector<NamedValue> more = {};
  const char* note = "";
};

constexpr const char* kOption = "optimizer-option";

const std::vector<NamedValue> kLambDefaults = {
    {"eps", "1e-08"}, {kOption, "max_coeff=10"}, {kOption, "min_coeff=0.01"}, {kOption, "use_nvlamb=true"}};

/// Types whose defaults or arithmetic DeepSpeed has itself; others are torch's and keep their name.
const std::vector<Row>& rows() {
  static const std::vector<Row> kRows = {
      {"adam", "adamw", "0.001"},
      {"adamw", "adamw", "0.001"},
      {"adagrad", "adagrad", "0.01"},
      {"lamb", "lamb", "0.001", kLambDefaults},
      {"lion", "lion", "0.0001"},
      {"muon", "muon", "0.001"},
      {"sgd", "sgd", "0.001"},
      {"rmsprop", "rmsprop", "0.01"},
      {"onebitadam", "adamw", "0.001", {{kOption, "bias_correction=false"}}, "nothing is compressed or frozen"},
      {"zerooneadam", "adamw", "0.001", {{kOption, "bias_correction=false"}}, "nothing is compressed or frozen"},
      {"onebitlamb", "lamb", "0.001", kLambDefaults, "nothing is compressed or frozen"},
  };
  return kRows;
}

}  // namespace

DeepSpeedRule deepspeed_rule(std::string_view type, bool adam_w_mode) {
  const std::string name = fold_name(type);
  for (const Row& row : rows()) {
    if (name != row.type) continue;
    DeepSpeedRule rule{.rule = row.rule, .defaults = {{"lr", row.lr}, {"weight-decay", "0"}}, .note = row.note};
    if (name == "adam" && !adam_w_mode) rule.rule = "adam";
    rule.defaults.insert(rule.defaults.end(), row.more.begin(), row.more.end());
    return rule;
  }
  return {.rule = name, .defaults = {{"lr", "0.001"}, {"weight-decay", "0"}}, .note = {}};
}

}  // namespace sluice::recipe
