#include <array>

#include "optim/factories.h"
#include "optim/rule.h"
#include "optim/schedule.h"
#include "optim/schedules.h"

namespace sluice::optim {

std::span<const RuleRow> rule_catalog() {
  static const std::array<RuleRow, 13> kRows = {{
      {"adamw", "Adam with decoupled weight decay; 8 bytes of state per parameter (bf16: 4)", adamw_factory()},
      {"adamw-8bit", "AdamW with block-wise 8-bit states as in bitsandbytes; 2.03 bytes per parameter",
       adamw_8bit_factory()},
      {"adam", "Adam with weight decay in the gradient; 8 bytes per parameter (bf16: 4)", adam_factory()},
      {"sgd", "gradient descent, optional momentum and Nesterov; 0 or 4 bytes per parameter (bf16: 2)", sgd_factory()},
      {"adagrad", "steps shrink with the sum of squared gradients; 4 bytes per parameter", adagrad_factory()},
      {"rmsprop", "steps divided by a running root mean square; 4, 8 or 12 bytes per parameter", rmsprop_factory()},
      {"lion", "sign of an interpolated momentum, decoupled decay; 4 bytes per parameter", lion_factory()},
      {"lamb", "Adam's step scaled per tensor by |p| / |step| (NVIDIA's variant); 8 bytes per parameter (bf16: 4)",
       lamb_factory()},
      {"lars", "momentum scaled per tensor by |p| / (|g| + decay |p|); 4 bytes per parameter", lars_factory()},
      {"adafactor", "second moment as row and column means (transformers' variant); 4 (rows + columns) bytes a matrix",
       adafactor_factory()},
      {"lomo", "gradient descent fused into backward, decoupled decay; no state, no kept gradient", lomo_factory()},
      {"adalomo", "adafactor's moment and bounds fused into backward; 4 (rows + columns) bytes a matrix",
       adalomo_factory()},
      {"muon",
       "momentum made orthogonal for matrices of hidden layers, adamw for the rest; 4 bytes per parameter (bf16: 2)",
       muon_factory()},
  }};
  return kRows;
}

namespace {

using MakeRule = std::unique_ptr<UpdateRule> (*)(const OptionValues&, const RuleOptions&);

std::unique_ptr<UpdateRule> make_by(MakeRule RuleFactory::*make, std::string_view name, const RuleOptions& options) {
  const RuleFactory& factory = find_row(rule_catalog(), "optimizer", name).make;
  if (factory.*make == nullptr) return nullptr;
  if (options.moments != StateFormat::Fp32 && !factory.bf16_states) {
    throw ConfigError("optim", "optimizer " + std::string(name) + " keeps its states in one format",
                      "expected moments in fp32, got another dtype", "leave --moments-dtype out");
  }
  return (factory.*make)(OptionValues("optimizer", name, factory.options, options.values), options);
}

}  // namespace

std::unique_ptr<UpdateRule> make_rule(std::string_view name, const RuleOptions& options) {
  return make_by(&RuleFactory::make, name, options);
}

std::unique_ptr<UpdateRule> make_rest_rule(std::string_view name, const RuleOptions& options) {
  return make_by(&RuleFactory::make_rest, name, options);
}

namespace {

OptionValues schedule_values(const ScheduleRow& row, const ScheduleOptions& options) {
  return {"schedule", row.name, row.make.options, options.options};
}

}  // namespace

std::span<const ScheduleRow> schedule_catalog() {
  static const std::array<ScheduleRow, 16> kRows = {{
      {"constant", "the same rate throughout, after an optional linear warm-up", constant_schedule()},
      {"constant_with_warmup", "linear warm-up from 0, then the same rate", constant_schedule()},
      {"linear", "linear warm-up from 0, then linear decay to 0 at the last step", linear_schedule()},
      {"cosine", "linear warm-up from 0, then half a cosine down to 0", cosine_schedule()},
      {"cosine_with_min_lr", "linear warm-up from 0, then half a cosine down to min_lr (or min_lr_rate * lr)",
       cosine_with_min_lr_schedule()},
      {"cosine_warmup_with_min_lr", "the same, one step ahead: its first step has a rate above 0",
       cosine_warmup_with_min_lr_schedule()},
      {"cosine_with_restarts", "linear warm-up from 0, then num_cycles times half a cosine down to 0",
       cosine_with_restarts_schedule()},
      {"polynomial", "linear warm-up from 0, then down to lr_end along a power", polynomial_schedule()},
      {"inverse_sqrt", "linear warm-up from 0, then lr / sqrt(step / timescale)", inverse_sqrt_schedule()},
      {"warmup_stable_decay", "warm-up, the same rate, decay at the end: transformers' form",
       warmup_stable_decay_schedule()},
      {"wsd", "warm-up, the same rate, decay at the end: Megatron-LM's form", wsd_schedule()},
      {"warmup_lr", "DeepSpeed's WarmupLR: logarithmic or linear warm-up, then the same rate", warmup_lr_schedule()},
      {"warmup_decay_lr", "DeepSpeed's WarmupDecayLR: warm-up, then linear decay to 0", warmup_decay_lr_schedule()},
      {"warmup_cosine_lr", "DeepSpeed's WarmupCosineLR: warm-up, then cosine decay", warmup_cosine_lr_schedule()},
      {"one_cycle", "DeepSpeed's OneCycle: up, down, then decay below the cycle", one_cycle_schedule()},
      {"lr_range_test", "DeepSpeed's LRRangeTest: a rate that only grows, to find the largest",
       lr_range_test_schedule()},
  }};
  return kRows;
}

double schedule_lr(std::string_view name, const ScheduleOptions& options, std::int64_t iteration) {
  const ScheduleRow& row = find_row(schedule_catalog(), "schedule", name);
  return row.make.lr(options, schedule_values(row, options), iteration);
}

std::optional<Betas> schedule_betas(std::string_view name, const ScheduleOptions& options, std::int64_t iteration) {
  const ScheduleRow& row = find_row(schedule_catalog(), "schedule", name);
  if (row.make.betas == nullptr) return std::nullopt;
  return row.make.betas(schedule_values(row, options), iteration);
}

}  // namespace sluice::optim
