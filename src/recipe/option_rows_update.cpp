// Rows of the update rule and of precision.
#include <array>
#include <limits>

#include "optim/schedule.h"
#include "recipe/option_rows.h"
#include "recipe/param_groups.h"

namespace sluice::recipe {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr RealRange kNotNegative = {0, kInfinity};
constexpr RealRange kBeta = {0, 1, false, true};
constexpr const char* kRulesOwn = "the rule's own";

constexpr std::array<Spelling<Decay>, 2> kDecays = {{{Decay::Matrices, "matrices"}, {Decay::All, "all"}}};
constexpr std::array<Spelling<ClipMode>, 4> kClipModes = {{{ClipMode::Global, "global"},
                                                           {ClipMode::TwoPass, "two-pass"},
                                                           {ClipMode::Block, "block"},
                                                           {ClipMode::Value, "value"}}};
constexpr std::array<Spelling<NanPolicy>, 2> kNanPolicies = {{{NanPolicy::Skip, "skip"}, {NanPolicy::Stop, "stop"}}};
constexpr std::array<Spelling<UpdateMode>, 4> kUpdateModes = {{{UpdateMode::Auto, "auto"},
                                                               {UpdateMode::Backward, "backward"},
                                                               {UpdateMode::NextForward, "next-forward"},
                                                               {UpdateMode::Sweep, "sweep"}}};
constexpr std::array<Spelling<DType>, 15> kWeightDTypes = {{{DType::Fp32, "fp32"},
                                                            {DType::Fp32, "float32"},
                                                            {DType::Fp32, "f32"},
                                                            {DType::Fp32, "float"},
                                                            {DType::Bf16, "bf16"},
                                                            {DType::Bf16, "bfloat16"},
                                                            {DType::Bf16, "torch.bfloat16"},
                                                            {DType::Fp16, "fp16"},
                                                            {DType::Fp16, "float16"},
                                                            {DType::Fp16, "f16"},
                                                            {DType::Fp16, "half"},
                                                            {DType::Fp16, "torch.float16"},
                                                            {DType::Fp8, "fp8"},
                                                            {DType::Fp8, "float8_e4m3fn"},
                                                            {DType::Fp8, "torch.float8_e4m3fn"}}};
// Those of all else.
constexpr std::span<const Spelling<DType>> kDTypes = std::span(kWeightDTypes).first(12);

/// Names of torch's and transformers' variants of the same arithmetic.
OptionRow rule_row(const char* row_name, std::string Settings::*field, RowText row_text) {
  OptionRow row = text_row(row_name, field, std::move(row_text));
  row.set = [row_name, field](Settings& settings, std::string_view text) {
    std::string name = fold_name(text);
    for (const char* same : {"adamw-torch", "adamw-torch-fused", "adamw-hf"}) {
      if (name == same) name = "adamw";
    }
    for (const char* same : {"adamw8bit", "adamw-bnb-8bit"}) {
      if (name == same) name = "adamw-8bit";
    }
    if (name.empty()) throw_bad_value(row_name, "the name of an update rule", text);
    settings.*field = name;
  };
  return row;
}

std::string without_underscores(std::string_view name) {
  std::string text(name);
  std::erase(text, '_');
  return text;
}

/// DeepSpeed's "WarmupDecayLR" is the row "warmup_decay_lr".
OptionRow schedule_row() {
  OptionRow row = text_row("lr-schedule", &Settings::lr_schedule,
                           {.argument = "NAME",
                            .help = "learning rate over --max-steps (`sluice list schedules`)",
                            .aliases = {"lr_scheduler_type", "lr_scheduler"}});
  row.set = [](Settings& settings, std::string_view text) {
    std::string name = fold_name(text);
    for (char& c : name) c = c == '-' ? '_' : c;
    if (name.empty()) throw_bad_value("lr-schedule", "the name of a schedule", text);
    for (const auto& known : optim::schedule_catalog()) {
      if (without_underscores(name) == without_underscores(known.name)) name = known.name;
    }
    settings.lr_schedule = name;
  };
  return row;
}

OptionRow betas_row() {
  OptionRow row = make_row(
      "betas", {.argument = "B1,B2", .help = "of adamw, adam, lion", .aliases = {"adam_betas"}, .absent = kRulesOwn},
      ValueKind::NumberList);
  row.set = [](Settings& settings, std::string_view text) {
    const std::vector<std::string> parts = split_list(text);
    if (parts.size() != 2) throw_bad_value("betas", "two numbers with a comma between them", text);
    settings.beta1 = parse_real(parts[0], "betas", kBeta);
    settings.beta2 = parse_real(parts[1], "betas", kBeta);
  };
  row.print = [](const Settings& settings) -> std::optional<std::string> {
    if (!settings.beta1 || !settings.beta2) return std::nullopt;
    return print_real(*settings.beta1) + "," + print_real(*settings.beta2);
  };
  return row;
}

/// transformers names the two betas apart; one of them alone is written so.
OptionRow beta_row(const char* name, std::optional<double> Settings::*field) {
  OptionRow row = real_row(name, field, kBeta, {.hidden = true});
  row.print = [field](const Settings& settings) -> std::optional<std::string> {
    if (settings.beta1 && settings.beta2) return std::nullopt;
    return settings.*field ? std::optional(print_real(*(settings.*field))) : std::nullopt;
  };
  return row;
}

/// "PATTERN:lr=1e-5,weight_decay=0", several with commas: a part with a colon begins a group.
OptionRow groups_row() {
  OptionRow row = make_row("param-group",
                           {.argument = "PATTERN:KEY=X[,KEY=X]",
                            .help = "lr, lr_factor or weight_decay of the parameters whose names match a glob; the "
                                    "first group that matches counts (repeatable)",
                            .aliases = {"param_groups"},
                            .absent = "none"},
                           ValueKind::TextList);
  row.set = [](Settings& settings, std::string_view text) { settings.param_groups = parse_groups(text); };
  row.print = [](const Settings& settings) -> std::optional<std::string> {
    return settings.param_groups.empty() ? std::nullopt : std::optional(print_groups(settings.param_groups));
  };
  return row;
}

OptionRow loss_scale_row() {
  return field_row(
      make_row(
          "loss-scale",
          {.argument = "dynamic|N",
           .help = "multiply the loss, so that small gradients do not vanish; dynamic: as large as does not overflow",
           .absent = "none"},
          ValueKind::Text),
      &Settings::loss_scale,
      [](std::string_view text) {
        if (fold_name(text) == "dynamic") return std::string("dynamic");
        return print_real(parse_real(text, "loss-scale", {0, kInfinity, true, false}));
      },
      [](const std::string& value) { return value; });
}

constexpr std::array<Spelling<optim::Master>, 4> kMasters = {{{optim::Master::None, "none"},
                                                              {optim::Master::Fp32, "fp32"},
                                                              {optim::Master::Fp32, "float32"},
                                                              {optim::Master::Split, "split"}}};

OptionRow dtype_row(const char* row_name, std::optional<DType> Settings::*field, RowText text) {
  text.argument = "fp32|bf16|fp16";
  return choice_row(row_name, field, kDTypes, std::move(text));
}

}  // namespace

std::vector<OptionRow> base_update_rows() {
  return {
      rule_row("base-optimizer", &Settings::base_optimizer,
               {.argument = "NAME",
                .help = "update rule of the base, which is trained beside its --adapter and saved with it",
                .absent = "the base is frozen"}),
      real_row("base-lr", &Settings::base_lr, kNotNegative,
               {.argument = "X", .help = "the base's highest rate; the schedule is the same", .absent = "--lr"}),
      real_row("base-weight-decay", &Settings::base_weight_decay, kNotNegative,
               {.argument = "X", .help = "of the base", .absent = "--weight-decay"}),
      pairs_row("base-optimizer-option", &Settings::base_optimizer_options,
                {.help = "further options of the base's rule (repeatable)", .aliases = {"base_optimizer_options"}}),
  };
}

std::vector<OptionRow> update_rows() {
  return {
      rule_row("optimizer", &Settings::optimizer,
               {.argument = "NAME", .help = "update rule (`sluice list optimizers`)", .aliases = {"optim"}}),
      real_row("lr", &Settings::lr, kNotNegative,
               {.argument = "X", .help = "highest learning rate", .aliases = {"learning_rate"}}),
      real_row("weight-decay", &Settings::weight_decay, kNotNegative,
               {.argument = "X", .help = "of every rule; decoupled or in the gradient as the rule has it"}),
      betas_row(),
      beta_row("adam-beta1", &Settings::beta1),
      beta_row("adam-beta2", &Settings::beta2),
      real_row("eps", &Settings::eps, kNotNegative,
               {.argument = "X",
                .help = "of adamw, adam, adagrad, rmsprop",
                .aliases = {"adam_epsilon", "adam_eps"},
                .absent = kRulesOwn}),
      real_row(
          "momentum", &Settings::momentum, kNotNegative,
          {.argument = "X", .help = "of sgd, rmsprop, lars, muon", .aliases = {"sgd_momentum"}, .absent = kRulesOwn}),
      choice_row(
          "decay", &Settings::decay, std::span<const Spelling<Decay>>(kDecays),
          {.argument = "matrices|all", .help = "which tensors decay: those with two or more dimensions, or all"}),
      pairs_row("optimizer-option", &Settings::optimizer_options,
                {.help = "further options of a rule, named as in torch (`sluice list optimizers`; repeatable)",
                 .aliases = {"optimizer_options", "optim_args"}}),
      groups_row(),
      schedule_row(),
      pairs_row("lr-schedule-option", &Settings::lr_schedule_options,
                {.help = "further options of a schedule (`sluice list schedules`; repeatable)",
                 .aliases = {"lr_schedule_options", "lr_scheduler_kwargs"}}),
      integer_row("warmup-steps", &Settings::warmup_steps, {0, std::int64_t{1} << 40},
                  {.argument = "N", .help = "steps of linear warm-up", .aliases = {"num_warmup_steps"}}),
      real_row("max-grad-norm", &Settings::max_grad_norm, kNotNegative,
               {.argument = "X",
                .help = "clip the gradient to this norm (with --clip-mode value: each element); 0: off",
                .aliases = {"gradient_clipping", "clip_grad", "max_norm"}}),
      choice_row("clip-mode", &Settings::clip_mode, std::span<const Spelling<ClipMode>>(kClipModes),
                 {.argument = "global|two-pass|block|value",
                  .help = "how gradients are clipped",
                  .absent = "two-pass for lomo, else global"}),
      choice_row("update", &Settings::update, std::span<const Spelling<UpdateMode>>(kUpdateModes),
                 {.argument = "auto|backward|next-forward|sweep",
                  .help = "when a block is updated; auto: next-forward with a global norm, else backward"}),
      choice_row("nan-policy", &Settings::nan_policy, std::span<const Spelling<NanPolicy>>(kNanPolicies),
                 {.argument = "skip|stop", .help = "what a step does whose loss or gradient is not finite"}),
      integer_row("max-skipped-steps", &Settings::max_skipped_steps, {1, std::int64_t{1} << 40},
                  {.argument = "N", .help = "stop after so many skipped steps in a row"}),
  };
}

std::vector<OptionRow> precision_rows() {
  return {
      choice_row("weights-dtype", &Settings::weights_dtype, std::span<const Spelling<DType>>(kWeightDTypes),
                 {.verbs = kComputing,
                  .argument = "fp32|bf16|fp16|fp8",
                  .help = "of weights wherever they wait and in files; what computes has these values",
                  .absent = "as stored; fp32 of quantised files and --init random"}),
      choice_row("master-dtype", &Settings::master_dtype, std::span<const Spelling<optim::Master>>(kMasters),
                 {.argument = "none|fp32|split",
                  .help = "what updates keep of narrower weights beside them: nothing, the fp32 number, the bits lost",
                  .absent = "none for fp32, else fp32"}),
      dtype_row("moments-dtype", &Settings::moments_dtype,
                {.help = "of optimizer state: fp32, bf16", .absent = "fp32"}),
      dtype_row("compute-dtype", &Settings::compute_dtype,
                {.verbs = kComputing,
                 .help = "of what products with weights multiply; their sums are fp32",
                 .absent = "fp32; on a card bf16"}),
      dtype_row("dtype", &Settings::dtype, {.verbs = kExport, .help = "of written weights", .absent = "as they are"}),
      dtype_row("reduce-dtype", &Settings::reduce_dtype,
                {.help = "of gradients between ranks; sums are made in fp32",
                 .aliases = {"communication_data_type"},
                 .absent = "fp32"}),
      loss_scale_row(),
      pairs_row(
          "loss-scale-option", &Settings::loss_scale_options,
          {.help = "of --loss-scale dynamic: policy=deepspeed|torch, and options as they are named there (repeatable)",
           .aliases = {"loss_scale_options"}}),
      switch_row("stochastic-rounding", &Settings::stochastic_rounding,
                 {.help = "round bf16 moments, and bf16 weights without a master, at random", .absent = "on"}),
  };
}

}  // namespace sluice::recipe
