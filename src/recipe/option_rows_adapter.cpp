// Rows of what is trained: frozen parameters and low-rank adapters, with the spellings of PEFT, axolotl and
// LLaMA-Factory.
#include <array>
#include <limits>

#include "recipe/option_rows.h"

namespace sluice::recipe {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr unsigned kAdapted = kComputing | kExport;

constexpr std::array<Spelling<BaseFormat>, 2> kBaseFormats = {
    {{BaseFormat::Stored, "stored"}, {BaseFormat::Nf4, "nf4"}}};

OptionRow adapter_row() {
  OptionRow row = text_row("adapter", &Settings::adapter,
                           {.argument = "lora|qlora|rslora|dora",
                            .help = "freeze the model and train low-rank adapters of its linear maps",
                            .aliases = {"finetuning_type", "peft_type"},
                            .absent = "all parameters are trained"});
  row.set = [](Settings& settings, std::string_view text) {
    const std::string name = fold_name(text);
    settings.adapter = name == "none" || name == "full" ? "" : name == "qlora" ? "lora" : name;
    if (name == "qlora") settings.base_dtype = BaseFormat::Nf4;
  };
  return row;
}

OptionRow targets_row() {
  OptionRow row = list_row("lora-targets", &Settings::lora_targets,
                           {.argument = "NAME,...|all-linear",
                            .help = "which linear maps: ends of their names, or one regular expression of whole names",
                            .aliases = {"lora_target_modules", "lora_target", "target_modules"},
                            .absent = "q_proj,v_proj (GPT-2: c_attn)"});
  row.set = [](Settings& settings, std::string_view text) {
    settings.lora_targets = split_list(text);
    for (std::string& target : settings.lora_targets) {
      if (target == "all") target = "all-linear";  // LLaMA-Factory's word
    }
  };
  return row;
}

/// axolotl's switch for all of them.
OptionRow target_linear_row() {
  OptionRow row = make_row("lora-target-linear", {.hidden = true}, ValueKind::Switch);
  row.set = [](Settings& settings, std::string_view text) {
    if (parse_switch(text, "lora-target-linear")) settings.lora_targets = {"all-linear"};
  };
  row.print = [](const Settings&) { return std::nullopt; };
  return row;
}

/// The switch of transformers' and axolotl's files.
OptionRow load_in_4bit_row() {
  OptionRow row = make_row("load-in-4bit", {.verbs = kComputing, .hidden = true}, ValueKind::Switch);
  row.set = [](Settings& settings, std::string_view text) {
    if (parse_switch(text, "load-in-4bit")) settings.base_dtype = BaseFormat::Nf4;
  };
  row.print = [](const Settings&) { return std::nullopt; };
  return row;
}

}  // namespace

std::vector<OptionRow> adapter_rows() {
  return {
      list_row("freeze", &Settings::freeze,
               {.argument = "PATTERN,...",
                .help = "parameters that are not trained, by name; * stands for any characters",
                .absent = "none"}),
      adapter_row(),
      text_row("adapter-path", &Settings::adapter_path,
               {.verbs = kAdapted,
                .argument = "DIR",
                .help = "folder of an adapter (PEFT's files) of --model: trained on, evaluated, sampled or merged",
                .aliases = {"lora_model_dir", "adapter_name_or_path"},
                .absent = "none"}),
      choice_row("base-dtype", &Settings::base_dtype, std::span<const Spelling<BaseFormat>>(kBaseFormats),
                 {.verbs = kComputing,
                  .argument = "stored|nf4",
                  .help = "linear maps of an adapter's frozen base: as other weights, or 4 bits each (qlora: nf4)",
                  .aliases = {"bnb_4bit_quant_type"}}),
      load_in_4bit_row(),
      integer_row("lora-rank", &Settings::lora_rank, {1, 65536},
                  {.argument = "N", .help = "rank of each adapter", .aliases = {"lora_r"}, .absent = "8"}),
      real_row("lora-alpha", &Settings::lora_alpha, {0, kInfinity, true, true},
               {.argument = "X", .help = "adapters count alpha/rank; rslora: alpha/sqrt(rank)", .absent = "8"}),
      targets_row(),
      target_linear_row(),
      real_row("lora-dropout", &Settings::lora_dropout, {0, 1, false, true},
               {.argument = "X", .help = "of what goes into an adapter; only 0 is available"}),
      pairs_row("lora-rank-pattern", &Settings::lora_rank_pattern,
                {.help = "another rank for names that end like this", .aliases = {"rank_pattern"}}),
      pairs_row("lora-alpha-pattern", &Settings::lora_alpha_pattern,
                {.help = "another alpha for names that end like this", .aliases = {"alpha_pattern"}}),
      switch_row("use-rslora", &Settings::use_rslora, {.aliases = {"peft_use_rslora"}, .hidden = true}),
      switch_row("use-dora", &Settings::use_dora, {.aliases = {"peft_use_dora"}, .hidden = true}),
  };
}

}  // namespace sluice::recipe
