#include "recipe/support.h"

#include <algorithm>
#include <array>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "recipe/clipping.h"
#include "recipe/device.h"
#include "recipe/parse_value.h"

namespace sluice::recipe {
namespace {

/// Rules that people ask for by these names and that have no row in optim's catalog.
constexpr auto kOtherRules = std::to_array<std::string_view>(
    {"adamax", "paged-adamw-8bit", "paged-adamw-32bit", "adamw-mini", "ademamix", "adadelta", "came", "galore-adamw",
     "galore", "nadam", "prodigy", "schedule-free-adamw", "shampoo", "soap"});

/// Schedules of transformers that follow the loss, which no iteration tells.
constexpr auto kOtherSchedules = std::to_array<std::string_view>({"reduce_lr_on_plateau", "greedy"});

[[noreturn]] void refuse(const std::string& what, const std::string& use) {
  throw ConfigError("config", what + " is not available in this version", {}, "use " + use);
}

template <typename Rows>
std::string list_names(const Rows& rows) {
  std::string names;
  for (const auto& row : rows) names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names;
}

void check_device(const Settings& settings) {
  const DeviceKind kind = device_choice(settings).kind;
  if (kind != DeviceKind::Cpu && !settings.machine.empty())
    throw ConfigError("config", "--device " + settings.device + " contradicts --machine",
                      "the device belongs to this machine", "leave one of them out");
  if (kind != DeviceKind::Cpu || !settings.machine.empty()) return;
  if (settings.device_memory) log_warning("--device-memory has no effect without an accelerator");
  if (settings.update_on) log_warning("--update-on has no effect without an accelerator");
}

// An emulated device computes with the rules' own loops.
void check_update_place(const Settings& settings) {
  if (settings.update_on != UpdatePlace::Device) return;
  if (device_choice(settings).kind != DeviceKind::Cuda && settings.machine.empty()) return;
  for (const optim::RuleUse& use : update_rules(settings)) {
    if (!use.rule->device_form())
      refuse("--update-on device with these states or rules",
             "adamw, adam, sgd or lomo with fp32 weights and moments, or --update-on host");
  }
}

/// Options of rules that have a flag of their own.
struct RuleFlag {
  const char* name;
  const char* key;
  std::optional<double> value;
};

std::array<RuleFlag, 4> rule_flags(const Settings& settings) {
  return {{{"betas", "beta1", settings.beta1},
           {"betas", "beta2", settings.beta2},
           {"eps", "eps", settings.eps},
           {"momentum", "momentum", settings.momentum}}};
}

bool declares(const Settings& settings, std::string_view option) {
  const auto declared = find_row(optim::rule_catalog(), "optimizer", settings.optimizer).make.options;
  return std::ranges::find(declared, option, &optim::OptionSpec::name) != declared.end();
}

void check_rule_name(const std::string& name) {
  const auto rules = optim::rule_catalog();
  if (std::ranges::find(kOtherRules, name) != kOtherRules.end()) refuse("optimizer '" + name + "'", list_names(rules));
  (void)find_row(rules, "optimizer", name);
}

// `param_groups` with rates as factors of `lr`.
std::vector<optim::ParamGroup> groups_of(const Settings& settings, double lr) {
  std::vector<optim::ParamGroup> groups;
  for (const ParamGroup& group : settings.param_groups) {
    if (group.lr && lr == 0)
      throw ConfigError("config", "--param-group '" + group.pattern + "' cannot have a rate of its own",
                        "expected --lr above 0, of which a group's rate is a multiple, got 0");
    groups.push_back({group.pattern, group.lr ? *group.lr / lr : group.lr_factor.value_or(1), group.weight_decay});
  }
  return groups;
}

double base_lr(const Settings& settings) { return settings.base_lr.value_or(settings.lr); }

// Bf16 moments are those of either rule that can have them.
optim::RuleOptions base_rule_options(const Settings& settings) {
  optim::RuleOptions options{.values = settings.base_optimizer_options,
                             .stochastic_rounding = settings.stochastic_rounding.value_or(true),
                             .lr = base_lr(settings)};
  const optim::RuleFactory& factory = find_row(optim::rule_catalog(), "optimizer", settings.base_optimizer).make;
  if (settings.moments_dtype == DType::Bf16 && factory.bf16_states) options.moments = optim::StateFormat::Bf16;
  return options;
}

void check_base_rule(const Settings& settings) {
  if (settings.base_optimizer.empty()) {
    if (settings.base_lr || settings.base_weight_decay || !settings.base_optimizer_options.empty())
      throw ConfigError("config", "--base-lr, --base-weight-decay and --base-optimizer-option have nothing to set",
                        "expected --base-optimizer NAME, got none", "the base of an adapter is frozen without it");
    return;
  }
  if (settings.adapter.empty() && settings.adapter_path.empty())
    throw ConfigError("config", "--base-optimizer without an adapter", "expected --adapter or --adapter-path, got none",
                      "use --optimizer " + settings.base_optimizer + " to train all parameters with it");
  if (settings.base_lr && settings.lr == 0)
    throw ConfigError("config", "--base-lr beside --lr 0", "expected --lr above 0, of which it is a multiple, got 0",
                      "freeze the adapter with --freeze instead");
}

void check_rule(const Settings& settings) {
  check_rule_name(settings.optimizer);
  check_base_rule(settings);
  if (!settings.base_optimizer.empty()) check_rule_name(settings.base_optimizer);
  for (const RuleFlag& flag : rule_flags(settings)) {
    if (flag.value && !declares(settings, flag.key))
      log_warning(std::string("--") + flag.name + " has no effect with --optimizer " + settings.optimizer);
  }
  const auto schedules = optim::schedule_catalog();
  if (std::ranges::find(kOtherSchedules, settings.lr_schedule) != kOtherSchedules.end()) {
    refuse("learning-rate schedule '" + settings.lr_schedule + "'", list_names(schedules));
  }
  (void)find_row(schedules, "schedule", settings.lr_schedule);
  const optim::ScheduleOptions schedule = schedule_options(settings, settings.max_steps.value_or(1));
  (void)optim::schedule_lr(settings.lr_schedule, schedule, 0);
  if (optim::schedule_betas(settings.lr_schedule, schedule, 0) && !declares(settings, "beta1"))
    log_warning("cycle_momentum has no effect with --optimizer " + settings.optimizer + ", which has no betas");
  (void)groups_of(settings, settings.lr);
  if (settings.base_optimizer.empty()) return;
  (void)optim::make_rule(settings.base_optimizer, base_rule_options(settings));
  (void)groups_of(settings, base_lr(settings));
}

void check_precision(const Settings& settings) {
  const optim::WeightPrecision precision =
      settings.base_optimizer.empty() ? weight_precision(settings) : model_precision(settings);
  if (precision.master == optim::Master::Split && precision.weights != DType::Bf16)
    throw ConfigError("config", "--master-dtype split contradicts the weights' format",
                      std::string("expected --weights-dtype bf16, got ") + name(precision.weights),
                      "use --master-dtype fp32 or none");
  if (stored_weights(settings) == DType::Fp8) {
    if (precision.weights == DType::Fp8 && precision.master == optim::Master::None)
      refuse("--weights-dtype fp8 with --master-dtype none", "--master-dtype fp32: steps are smaller than 8 bits tell");
    if (sharding(settings).is_parallel()) refuse("--weights-dtype fp8 on several ranks", "--weights-dtype bf16");
  }
  if (settings.moments_dtype == DType::Fp16) refuse("--moments-dtype fp16", "--moments-dtype bf16");
  const auto rule = optim::make_rule(settings.optimizer, rule_options(settings));
  const auto is_8bit = [](const optim::StateSpec& state) { return state.format == optim::StateFormat::Block8; };
  if (settings.moments_dtype && std::ranges::any_of(rule->states(), is_8bit)) {
    throw ConfigError("config", "--moments-dtype contradicts --optimizer " + settings.optimizer,
                      "the rule's states have 8 bits, got " + std::string(name(*settings.moments_dtype)),
                      "leave one of them out");
  }
  if (compute_format(settings) == DType::Fp16 && !settings.loss_scale)
    log_warning("--compute-dtype fp16 without --loss-scale: small gradients become zero; use --loss-scale dynamic");
  const bool rounds_weights = precision.weights == DType::Bf16 && precision.master == optim::Master::None;
  if (settings.stochastic_rounding.value_or(false) && settings.moments_dtype != DType::Bf16 && !rounds_weights)
    refuse("--stochastic-rounding", "it with --moments-dtype bf16, or with bf16 weights and --master-dtype none");
}

void check_base_format(const Settings& settings) {
  if (settings.base_dtype == BaseFormat::Stored) return;
  if (!has_adapter(settings))
    throw ConfigError("config", "--base-dtype nf4 without an adapter", "expected --adapter or --adapter-path, got none",
                      "NF4 is for a base that nothing changes");
  if (!settings.base_optimizer.empty())
    throw ConfigError("config", "--base-dtype nf4 contradicts --base-optimizer",
                      "expected a frozen base, got one under " + settings.base_optimizer, "leave one of them out");
  if (settings.adapter == "dora" || settings.use_dora.value_or(false))
    refuse("--adapter dora with --base-dtype nf4", "--adapter lora or rslora, or --base-dtype stored");
  if (sharding(settings).weights()) refuse("--base-dtype nf4 with --zero-stage 3", "--zero-stage 0 to 2");
  if (device_choice(settings).kind == DeviceKind::Cuda) refuse("--base-dtype nf4 on a card", "--base-dtype stored");
}

void check_adapter(const Settings& settings) {
  const std::string& kind = settings.adapter;
  if (kind == "freeze") refuse("finetuning_type freeze", "--freeze with patterns of names");
  if (!kind.empty() && kind != "lora" && kind != "rslora" && kind != "dora")
    throw ConfigError("config", "unknown adapter '" + kind + "'", "expected lora, qlora, rslora or dora");
  if (settings.lora_dropout > 0) refuse("--lora-dropout " + print_real(settings.lora_dropout), "--lora-dropout 0");
  const bool shaped = settings.lora_rank || settings.lora_alpha || !settings.lora_targets.empty() ||
                      !settings.lora_rank_pattern.empty() || !settings.lora_alpha_pattern.empty();
  if (shaped && !settings.adapter_path.empty())
    throw ConfigError("config", "--adapter-path contradicts other options of the adapter",
                      "its rank, alpha and targets stand in " + settings.adapter_path, "leave the others out");
  if (shaped && kind.empty()) log_warning("--lora-... options have no effect without --adapter lora");
}

void check_restarts(const Settings& settings) {
  if (settings.restarts == 0) return;
  if (settings.resume != "auto")
    throw ConfigError("config", "--restarts contradicts --resume " + settings.resume,
                      "it goes on from the newest checkpoint in --output", "leave --resume out, with a new --output");
  if (!settings.save_steps)
    log_warning("--restarts begins anew without --save-steps: there is no checkpoint before the end");
}

void check_groups_of_ranks(const Settings& settings) {
  const int ranks = num_ranks(settings), size = settings.zero_shard_size.value_or(0);
  if (ranks <= 1 && (size > 0 || settings.reduce_dtype))
    return log_warning("--zero-shard-size and --reduce-dtype have no effect on one rank");
  if (settings.reduce_order == ReduceOrder::Fixed && (size > 0 || settings.reduce_dtype))
    refuse(std::string("--reduce-order fixed with ") + (size > 0 ? "--zero-shard-size" : "--reduce-dtype"),
           "--reduce-order ranks, or all ranks in fp32");
  if (size == 0 || ranks % size == 0) return;
  throw ConfigError("config", "--zero-shard-size does not divide the ranks",
                    "expected a divisor of " + std::to_string(ranks) + ", got " + std::to_string(size));
}

// What is left over of a gradient belongs to one rank's whole one, made once a step, in one unit.
void check_compression(const Settings& settings) {
  if (settings.gradient_compression == GradientCompression::None) {
    if (settings.compression_warmup_steps > 0)
      log_warning("--compression-warmup-steps has no effect without --gradient-compression");
    return;
  }
  if (num_ranks(settings) <= 1) return log_warning("--gradient-compression has no effect on one rank");
  const auto refuse_with = [](bool given, const char* other, const char* use) {
    if (given) refuse(std::string("--gradient-compression with ") + other, use);
  };
  refuse_with(settings.reduce_dtype.has_value(), "--reduce-dtype", "one of them");
  refuse_with(settings.reduce_order == ReduceOrder::Fixed, "--reduce-order fixed", "--reduce-order ranks");
  refuse_with(settings.zero_shard_size.has_value(), "--zero-shard-size", "--zero-stage among all ranks");
  refuse_with(update_when(settings) == plan::UpdateWhen::SecondPass, "--clip-mode two-pass", "--clip-mode global");
  refuse_with(settings.loss_scale == "dynamic", "--loss-scale dynamic", "a --loss-scale that stays");
}

void check_execution(const Settings& settings) {
  check_restarts(settings);
  if (settings.collective == "nccl") refuse("--collective nccl", "--collective gloo or mpi");
  check_groups_of_ranks(settings);
  check_compression(settings);
  if (!sharding(settings).is_parallel() || device_choice(settings).kind == DeviceKind::Cpu) return;
  const bool many = num_ranks(settings) > 1;
  refuse("--device " + settings.device + (many ? " with several ranks" : " with --reduce-order fixed"),
         many ? "--device cpu, or --nproc 1" : "--device cpu, or --reduce-order ranks");
}

void check_evaluation(const Settings& settings) {
  const auto need_held_out = [&](bool asked, const char* flag) {
    if (!asked || has_held_out(settings)) return;
    throw ConfigError("config", std::string(flag) + " needs held-out data",
                      "expected --eval-data FILE or --validation-split X, got neither");
  };
  need_held_out(settings.eval_steps.has_value(), "--eval-steps");
  need_held_out(settings.keep_best, "--keep-best");
  if (settings.keep_best && !settings.eval_steps)
    log_warning("--keep-best has no choice without --eval-steps: held-out loss is taken at the end alone");
  if (settings.tasks.empty() &&
      (settings.few_shot > 0 || settings.limit || settings.add_bos || !settings.predictions.empty()))
    log_warning("--predictions, --few-shot, --limit and --add-bos have no effect without --tasks");
  if (!settings.tasks.empty() && !settings.data.empty()) log_warning("--data has no effect beside --tasks");
  if (settings.validation_split && !settings.eval_data.empty())
    throw ConfigError("config", "--validation-split contradicts --eval-data", "expected one of them, got both");
}

}  // namespace

int num_ranks(const Settings& settings) { return settings.nodes.value_or(1) * settings.nproc.value_or(1); }

plan::Sharding sharding(const Settings& settings) {
  const int ranks = num_ranks(settings);
  return {.num_ranks = ranks,
          .stage = ranks > 1 ? settings.zero_stage.value_or(1) : 1,  // of one nothing becomes less
          .group_size = settings.zero_shard_size.value_or(0),
          .fixed_order = settings.reduce_order == ReduceOrder::Fixed};
}

void check_supported(const Settings& settings) {
  check_device(settings);
  check_rule(settings);
  check_clipping(settings);
  check_precision(settings);
  check_update_place(settings);
  check_adapter(settings);
  check_base_format(settings);
  check_execution(settings);
  check_evaluation(settings);
}

void check_required(const Settings& settings, std::string_view verb) {
  const auto need = [&](bool needed, const std::string& value, const char* flag, const char* example) {
    if (!needed || !value.empty()) return;
    throw ConfigError("config", "sluice " + std::string(verb) + " needs --" + flag,
                      std::string("expected --") + flag + " " + example + ", got none");
  };
  need(true, settings.model, "model", "DIR");
  need((verb == "train" && !settings.dry_run) || (verb == "eval" && settings.tasks.empty()), settings.data, "data",
       verb == "eval" ? "FILE or --tasks FILE.jsonl" : "FILE");
  need((verb == "train" && !settings.dry_run) || verb == "export", settings.output, "output", "DIR");
  need(verb == "sample", settings.prompt, "prompt", "TEXT");
}

bool has_held_out(const Settings& settings) { return !settings.eval_data.empty() || settings.validation_split; }

plan::Activations plan_activations(const Settings& settings) {
  switch (settings.activations) {
    case ActivationMode::Keep:
      return plan::Activations::Keep;
    case ActivationMode::Recompute:
      return plan::Activations::Recompute;
    case ActivationMode::Spill:
      return plan::Activations::Spill;
    case ActivationMode::Auto:
      break;
  }
  return plan::Activations::Auto;
}

std::optional<format::AdapterConfig> adapter_config(const Settings& settings, std::string_view model_type) {
  if (!has_adapter(settings)) return std::nullopt;
  format::AdapterConfig config;
  if (!settings.adapter_path.empty()) {
    config = format::read_adapter_config(settings.adapter_path);
  } else {
    config.rank = settings.lora_rank.value_or(config.rank);
    config.alpha = settings.lora_alpha.value_or(config.alpha);
    config.rslora = settings.adapter == "rslora" || settings.use_rslora.value_or(false);
    config.dora = settings.adapter == "dora" || settings.use_dora.value_or(false);
    config.targets = settings.lora_targets;
    for (const auto& [key, value] : settings.lora_rank_pattern)
      config.rank_pattern.emplace_back(key, parse_integer(value, "lora-rank-pattern " + key, {1, 65536}));
    for (const auto& [key, value] : settings.lora_alpha_pattern)
      config.alpha_pattern.emplace_back(key, parse_real(value, "lora-alpha-pattern " + key,
                                                        {0, std::numeric_limits<double>::infinity(), true, true}));
  }
  if (config.targets.empty()) config.targets = format::default_targets(model_type);
  return config;
}

optim::RuleOptions rule_options(const Settings& settings) {
  optim::RuleOptions options{.values = settings.optimizer_options, .lr = settings.lr};
  if (settings.moments_dtype == DType::Bf16) options.moments = optim::StateFormat::Bf16;
  options.stochastic_rounding = settings.stochastic_rounding.value_or(true);
  for (const RuleFlag& flag : rule_flags(settings)) {
    if (!flag.value || !declares(settings, flag.key)) continue;
    if (!options.values.emplace(flag.key, print_real(*flag.value)).second) {
      throw ConfigError("config", std::string("--") + flag.name + " contradicts --optimizer-option " + flag.key,
                        "expected one of them, got both");
    }
  }
  return options;
}

bool has_adapter(const Settings& settings) { return !settings.adapter.empty() || !settings.adapter_path.empty(); }

DType sent_gradients(const Settings& settings) {
  if (settings.gradient_compression == GradientCompression::OneBit) return DType::OneBit;
  return settings.reduce_dtype.value_or(DType::Fp32);
}

DType compute_format(const Settings& settings) {
  const bool card = device_choice(settings).kind == DeviceKind::Cuda;
  return settings.compute_dtype.value_or(card ? DType::Bf16 : DType::Fp32);
}

DType stored_weights(const Settings& settings) { return settings.weights_dtype.value_or(DType::Fp32); }

DType held_weights(const Settings& settings, DType stored) {
  if (sharding(settings).is_parallel()) return DType::Fp32;
  return stored == compute_format(settings) || stored == DType::Fp8 ? stored : DType::Fp32;
}

optim::WeightPrecision weight_precision(const Settings& settings) {
  if (has_adapter(settings)) return {};
  return model_precision(settings);
}

optim::WeightPrecision model_precision(const Settings& settings) {
  const DType weights = stored_weights(settings);
  const optim::Master usual = weights == DType::Fp32 ? optim::Master::None : optim::Master::Fp32;
  return {.weights = weights,
          .master = settings.master_dtype.value_or(usual),
          .stochastic_rounding = settings.stochastic_rounding.value_or(true)};
}

optim::RuleSet update_rules(const Settings& settings) {
  optim::RuleSet rules;
  const auto add = [&](std::unique_ptr<optim::UpdateRule> rule, const optim::WeightPrecision& precision) {
    rules.push_back({.rule = optim::with_weight_precision(std::move(rule), precision), .precision = precision});
  };
  const auto add_rest = [&](int of, std::unique_ptr<optim::UpdateRule> rest) {
    if (rest == nullptr) return;
    const optim::WeightPrecision precision = rules[of].precision;
    rules[of].rest = static_cast<int>(rules.size());
    rules.push_back({.rule = optim::with_weight_precision(std::move(rest), precision),
                     .precision = precision,
                     .lr_factor = rules[of].lr_factor,
                     .weight_decay = rules[of].weight_decay,
                     .groups = rules[of].groups});
  };
  add(optim::make_rule(settings.optimizer, rule_options(settings)), weight_precision(settings));
  rules.back().groups = groups_of(settings, settings.lr);
  if (settings.base_optimizer.empty()) {
    add_rest(0, optim::make_rest_rule(settings.optimizer, rule_options(settings)));
    return rules;
  }
  const double lr = base_lr(settings);
  add(optim::make_rule(settings.base_optimizer, base_rule_options(settings)), model_precision(settings));
  rules.back().groups = groups_of(settings, lr);
  if (settings.lr != 0) rules.back().lr_factor = lr / settings.lr;
  rules.back().weight_decay = settings.base_weight_decay;
  add_rest(0, optim::make_rest_rule(settings.optimizer, rule_options(settings)));
  add_rest(kBaseRule, optim::make_rest_rule(settings.base_optimizer, base_rule_options(settings)));
  return rules;
}

optim::ScheduleOptions schedule_options(const Settings& settings, std::int64_t max_steps) {
  return {.lr = settings.lr,
          .warmup_steps = settings.warmup_steps,
          .max_steps = max_steps,
          .options = settings.lr_schedule_options};
}

}  // namespace sluice::recipe
