#include <array>
#include <limits>
#include <sstream>

#include "optim/factories.h"
#include "optim/rule.h"
#include "optim/schedule.h"

namespace sluice::optim {

std::span<const RuleRow> rule_catalog() {
  static constexpr std::array<RuleRow, 4> kRows = {{
      {"adamw", "Adam with decoupled weight decay; 8 bytes of state per parameter", {make_adamw_rule}},
      {"sgd", "gradient descent, optional momentum and Nesterov; 0 or 4 bytes per parameter", {make_sgd_rule}},
      {"lomo",
       "gradient descent fused into backward, decoupled decay; no state, no kept gradient",
       {make_lomo_rule, true}},
      {"lamb",
       "Adam's step scaled per tensor by |p| / |step| (NVIDIA's variant); 8 bytes of state per parameter",
       {make_lamb_rule}},
  }};
  return kRows;
}

std::unique_ptr<UpdateRule> make_rule(std::string_view name, const RuleOptions& options) {
  const RuleRow& row = find_row(rule_catalog(), "optimizer", name);
  if (options.moments != StateFormat::Fp32 && !row.make.bf16_states) {
    throw ConfigError("optim", "optimizer " + std::string(name) + " keeps its states in one format",
                      "expected moments in fp32, got another dtype", "leave --moments-dtype out");
  }
  return row.make(options);
}

std::span<const ScheduleRow> schedule_catalog() {
  static constexpr std::array<ScheduleRow, 5> kRows = {{
      {"constant", "the same rate throughout, after an optional linear warm-up", constant_rate},
      {"constant_with_warmup", "linear warm-up from 0, then the same rate", constant_rate},
      {"linear", "linear warm-up from 0, then linear decay to 0 at the last step", linear_rate},
      {"cosine", "linear warm-up from 0, then half a cosine down to 0", cosine_rate},
      {"cosine_with_min_lr",
       "linear warm-up from 0, then half a cosine down to the option min_lr (or min_lr_rate * lr)",
       cosine_with_min_lr_rate},
  }};
  return kRows;
}

double schedule_lr(std::string_view name, const ScheduleOptions& options, std::int64_t iteration) {
  return options.lr * find_row(schedule_catalog(), "schedule", name).make(options, iteration);
}

void check_option(std::string_view name, double value, double lowest, double limit) {
  if (value >= lowest && value < limit) return;
  std::ostringstream text;
  text << "expected " << lowest << " <= " << name;
  if (limit != std::numeric_limits<double>::infinity()) text << " < " << limit;
  text << ", got " << value;
  throw ConfigError("optim", std::string(name) + " is out of range", text.str());
}

}  // namespace sluice::optim
