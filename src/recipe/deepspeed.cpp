#include "recipe/deepspeed.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/formatted.h"
#include "recipe/deepspeed_batch.h"
#include "recipe/deepspeed_file.h"
#include "recipe/deepspeed_rules.h"
#include "recipe/option_table.h"
#include "recipe/parse_value.h"
#include "recipe/support.h"

namespace sluice::recipe {
namespace {

using Entry = DeepSpeedFile::Entry;
using Json = DeepSpeedFile::Json;

constexpr const char* kStage = "zero_optimization.stage";

Settings settings_of(std::span<const NamedValue> options, Settings settings = {}) {
  for (const auto& [row, text] : merged_options(options)) row->set(settings, text);
  return settings;
}

/// Whether a value of a refused key asks for something.
bool asks(const DeepSpeedKey& row, const Json& value) {
  if (row.neutral != "enabled") return row.neutral.empty() || deepspeed_value_text(value) != row.neutral;
  for (const auto& [name, inner] : value.items()) {
    if (name == "enabled" && inner == true) return true;
    if (inner.is_object() && asks(row, inner)) return true;
  }
  return false;
}

class Translation {
 public:
  Translation(DeepSpeedFile& file, std::span<const NamedValue> given, int num_ranks)
      : file_(file), given_(given), elsewhere_(settings_of(given)), num_ranks_(num_ranks) {}

  DeepSpeedReading run() {
    refuse_what_nothing_does();
    set_batch();
    set_precision();
    set_exchange();
    set_rule();
    set_schedule();
    set_values_as_they_stand();
    set_offload();
    set_stage();
    say_what_is_missing();
    return finish();
  }

 private:
  [[nodiscard]] bool is_given(std::string_view option) const {
    return std::ranges::any_of(given_, [&](const NamedValue& value) { return value.name == option; });
  }

  /// The option from this key, unless it is given elsewhere.
  void put(Entry& entry, const std::string& option, const std::string& text) {
    if (is_given(option)) {
      DeepSpeedFile::note(entry, "--" + option + " is given and wins");
      return;
    }
    reading_.options.push_back({option, text});
    DeepSpeedFile::note(entry, "--" + option + " " + text);
  }

  void put_default(const std::string& option, const std::string& text) {
    if (!is_given(option)) reading_.options.push_back({option, text});
  }

  [[nodiscard]] bool is_put(const std::string& option) const {
    return std::ranges::any_of(reading_.options, [&](const NamedValue& value) { return value.name == option; });
  }

  void miss(const std::string& key, const std::string& outcome) { missing_.push_back({key, "-", outcome}); }

  void refuse_what_nothing_does() {
    for (Entry& entry : file_.entries()) {
      if (entry.row->fate != KeyFate::Refused || file_.value(entry.row->key) == nullptr) continue;
      if (asks(*entry.row, entry.value)) {
        throw ConfigError("deepspeed", "'" + std::string(entry.row->key) + "' is not available in this version",
                          "got " + entry.value.dump().substr(0, 80), std::string(entry.row->what));
      }
      DeepSpeedFile::note(entry, "asks for nothing");
    }
  }

  void set_batch() {
    const auto of_file = [&](const char* key) -> std::optional<std::int64_t> {
      const Json* value = file_.value(key);
      return value == nullptr ? std::nullopt : std::optional(value->get<std::int64_t>());
    };
    const auto or_given = [&](const char* option, std::int64_t given, const char* key) {
      return is_given(option) ? std::optional(given) : of_file(key);
    };
    BatchSizes sizes{.train = of_file("train_batch_size"),
                     .micro = or_given("micro-batch-size", elsewhere_.micro_batch_size, kMicroBatch),
                     .accumulation = or_given("grad-accumulation", elsewhere_.grad_accumulation, kAccumulation)};
    const bool flags_win = is_given("micro-batch-size") || is_given("grad-accumulation");
    if (flags_win && sizes.micro && sizes.accumulation) sizes.train.reset();
    // What the Trainer would fill in has a default; DeepSpeed by itself has none.
    if (!sizes.train && !sizes.micro && file_.is_auto(kMicroBatch)) sizes.micro = elsewhere_.micro_batch_size;
    const BatchSizes whole = complete_batch(sizes, num_ranks_);
    say_size("train_batch_size", "micro-batch-size",
             std::to_string(*whole.train) + " rows a step of " + std::to_string(num_ranks_) +
                 (num_ranks_ == 1 ? " rank" : " ranks"));
    say_size(kMicroBatch, "micro-batch-size", "--micro-batch-size " + std::to_string(*whole.micro));
    say_size(kAccumulation, "grad-accumulation", "--grad-accumulation " + std::to_string(*whole.accumulation));
    put_default("micro-batch-size", std::to_string(*whole.micro));
    put_default("grad-accumulation", std::to_string(*whole.accumulation));
  }

  void say_size(const char* key, const char* option, const std::string& outcome) {
    if (Entry* entry = file_.find(key))
      DeepSpeedFile::note(*entry, is_given(option) ? outcome + ", as given" : outcome);
  }

  // Which of the two sections counts: the format of the weights, where that is given, else what is enabled.
  bool is_format_on(const char* key, DType dtype) {
    if (is_given("weights-dtype")) return elsewhere_.weights_dtype == dtype;
    return file_.is_on(key);
  }

  void set_precision() {
    if (file_.is_on("fp16.enabled") && file_.is_on("bf16.enabled"))
      throw ConfigError("deepspeed", "fp16 and bf16 are both enabled", "expected one of them, got both",
                        "switch one of them off");
    set_format("fp16.enabled", "fp16", DType::Fp16);
    set_format("bf16.enabled", "bf16", DType::Bf16);
    set_loss_scale(is_format_on("fp16.enabled", DType::Fp16));
    if (is_format_on("bf16.enabled", DType::Bf16)) {
      set_switch("bf16.bf16_master_weights_and_grads", "master-dtype", "none");
      set_switch("bf16.bf16_optimizer_states", "moments-dtype", "bf16");
    }
  }

  void set_format(const char* key, const char* name, DType dtype) {
    Entry* entry = file_.find(key);
    if (entry == nullptr) return;
    if (file_.is_auto(key)) {
      DeepSpeedFile::note(*entry, is_format_on(key, dtype) ? "on, as --weights-dtype says"
                                                           : "off: no --weights-dtype " + std::string(name));
    } else if (file_.is_on(key)) {
      put(*entry, "weights-dtype", name);
    } else {
      DeepSpeedFile::note(*entry, "off");
    }
  }

  void set_switch(const char* key, const char* option, const char* text) {
    if (file_.is_on(key)) put(*file_.find(key), option, text);
  }

  void set_loss_scale(bool is_fp16) {
    if (!file_.has_section("fp16") || !is_fp16) return;
    const Json* scale = file_.value("fp16.loss_scale");
    const bool is_dynamic = scale == nullptr || scale->get<double>() == 0;
    if (scale != nullptr && scale->get<double>() < 0)
      throw ConfigError("deepspeed", "'fp16.loss_scale' cannot be used",
                        "expected 0 (dynamic) or more, got " + scale->dump());
    const std::string text = is_dynamic ? "dynamic" : deepspeed_value_text(*scale);
    if (scale != nullptr) {
      put(*file_.find("fp16.loss_scale"), "loss-scale", text);
    } else {
      put_default("loss-scale", text);
    }
    set_switch("fp16.fp16_master_weights_and_grads", "master-dtype", "none");
    if (!is_dynamic || is_given("loss-scale")) return;
    for (const char* name :
         {"initial_scale_power", "loss_scale_window", "hysteresis", "consecutive_hysteresis", "min_loss_scale"}) {
      const std::string key = std::string("fp16.") + name;
      if (const Json* value = file_.value(key))
        put(*file_.find(key), "loss-scale-option", std::string(name) + "=" + deepspeed_value_text(*value));
    }
  }

  void set_exchange() {
    const char* key = "communication_data_type";
    const Json* dtype = file_.value(key);
    if (dtype == nullptr) return;
    if (num_ranks_ > 1) {
      put(*file_.find(key), "reduce-dtype", deepspeed_value_text(*dtype));
    } else {
      DeepSpeedFile::note(*file_.find(key), "no effect: one rank exchanges nothing");
    }
  }

  void set_rule() {
    Entry* type = file_.find("optimizer.type");
    if (type == nullptr) {
      if (file_.has_section("optimizer"))
        throw ConfigError("deepspeed", "'optimizer' has no type", "expected optimizer.type, got none");
      miss("optimizer", "--optimizer " + elsewhere_.optimizer + ", --lr " + print_real(elsewhere_.lr));
      return;
    }
    const Json* coupled = file_.value("optimizer.params.adam_w_mode");
    const DeepSpeedRule rule =
        deepspeed_rule(deepspeed_value_text(type->value), coupled == nullptr || *coupled == true);
    rule_is_ours_ = !is_given("optimizer") || elsewhere_.optimizer == rule.rule;
    put(*type, "optimizer", rule.rule);
    if (!rule.note.empty()) DeepSpeedFile::note(*type, rule.note);
    if (Entry* mode = file_.find("optimizer.params.adam_w_mode"))
      DeepSpeedFile::note(*mode, "--optimizer " + rule.rule);
    if (!rule_is_ours_) return;
    if (rule.rule == "muon") set_muon_rates();
    for (const NamedValue& fallback : rule.defaults) {
      const auto stands = [&](const std::string& name) { return file_.find("optimizer.params." + name) != nullptr; };
      if (fallback.name == "optimizer-option") {
        if (!stands(fallback.value.substr(0, fallback.value.find('=')))) put_default(fallback.name, fallback.value);
      } else {
        std::string name = fallback.name;
        std::ranges::replace(name, '-', '_');
        if (!stands(name) && !is_put(fallback.name)) put_default(fallback.name, fallback.value);
      }
    }
  }

  // A rate for the matrices and one for what AdamW updates; `lr` is the one that is not given.
  void set_muon_rates() {
    const std::string params = "optimizer.params.";
    const Json* of_matrices = file_.value(params + "muon_lr");
    const Json* of_rest = file_.value(params + "adam_lr");
    const auto put_rest = [&](const std::string& key, const Json& rate) {
      put(*file_.find(key), "optimizer-option", "adamw_lr=" + deepspeed_value_text(rate));
    };
    if (of_rest != nullptr) put_rest(params + "adam_lr", *of_rest);
    if (of_matrices == nullptr) return;
    put(*file_.find(params + "muon_lr"), "lr", deepspeed_value_text(*of_matrices));
    const Json* lr = file_.value(params + "lr");
    if (of_rest == nullptr && lr == nullptr) {
      put_default("optimizer-option", "adamw_lr=0.001");
    } else if (of_rest == nullptr) {
      put_rest(params + "lr", *lr);
    } else if (lr != nullptr) {
      DeepSpeedFile::note(*file_.find(params + "lr"), "no effect: muon_lr and adam_lr are given");
    }
  }

  void set_schedule() {
    Entry* type = file_.find("scheduler.type");
    if (type == nullptr) {
      if (file_.has_section("scheduler"))
        throw ConfigError("deepspeed", "'scheduler' has no type", "expected scheduler.type, got none");
      miss("scheduler", "--lr-schedule " + elsewhere_.lr_schedule);
      return;
    }
    schedule_is_ours_ = !is_given("lr-schedule");
    put(*type, "lr-schedule", deepspeed_value_text(type->value));
    if (!schedule_is_ours_) return;
    if (Entry* steps = file_.find("scheduler.params.warmup_num_steps")) {
      const bool is_auto = file_.is_auto("scheduler.params.warmup_num_steps");
      const std::int64_t number = is_auto ? elsewhere_.warmup_steps : steps->value.get<std::int64_t>();
      put(*steps, "lr-schedule-option", "warmup_num_steps=" + std::to_string(std::max<std::int64_t>(2, number)));
    }
    const std::string name = deepspeed_value_text(type->value);
    if (name == "WarmupDecayLR" && file_.find("scheduler.params.warmup_max_lr") == nullptr)
      put_default("lr-schedule-option", "warmup_max_lr=0.001");
    if (name != "OneCycle") return;
    Entry* momentum = file_.find("scheduler.params.cycle_momentum");
    const bool cycles = momentum == nullptr || momentum->value == true;
    const std::string text = std::string("cycle_momentum=") + (cycles ? "true" : "false");
    if (momentum != nullptr) {
      put(*momentum, "lr-schedule-option", text);
    } else {
      put_default("lr-schedule-option", text);
    }
  }

  void set_values_as_they_stand() {
    for (Entry& entry : file_.entries()) {
      const std::string key(entry.row->key), option(entry.row->option);
      if (option.empty() || entry.value.is_null() || !entry.outcome.empty()) continue;
      const bool of_rule = option == "optimizer-option", of_schedule = option == "lr-schedule-option";
      if (file_.value(key) == nullptr) {
        DeepSpeedFile::note(entry, "left to --" + option);
      } else if ((of_rule && !rule_is_ours_) || (of_schedule && !schedule_is_ours_)) {
        DeepSpeedFile::note(
            entry, std::string("belongs to another one than --") + (of_rule ? "optimizer" : "lr-schedule") + " names");
      } else {
        const std::string name = key.substr(key.rfind('.') + 1) + "=";
        put(entry, option, (of_rule || of_schedule ? name : "") + deepspeed_value_text(entry.value));
      }
    }
  }

  [[nodiscard]] std::int64_t stage() {
    if (elsewhere_.zero_stage) return *elsewhere_.zero_stage;
    const Json* value = file_.value(kStage);
    return value == nullptr ? 0 : value->get<std::int64_t>();
  }

  void set_offload() {
    const std::string param = "zero_optimization.offload_param", rule = "zero_optimization.offload_optimizer";
    std::vector<std::string> folders;
    for (const std::string& section : {param, rule}) {
      const Json* value = file_.value(section + ".device");
      const std::string device = value == nullptr ? "none" : value->get<std::string>();
      if (device == "none") continue;
      if (stage() != 3 && (section == param || device == "nvme"))
        throw ConfigError("deepspeed", "'" + section + "' on " + device + " below stage 3",
                          "expected zero_optimization.stage 3, got " + std::to_string(stage()));
      if (device == "nvme")
        use_disk(section, folders);
      else
        DeepSpeedFile::note(*file_.find(section + ".device"),
                            "no effect: the plan holds in RAM what the budget allows");
    }
    replace_old_offload("cpu_offload", rule, 0);
    replace_old_offload("cpu_offload_param", param, 3);
    replace_old_offload("cpu_offload_params", param, 3);
  }

  void use_disk(const std::string& section, std::vector<std::string>& folders) {
    const Json* path = file_.value(section + ".nvme_path");
    if (path == nullptr && elsewhere_.spill_dir.empty())
      throw ConfigError("deepspeed", "'" + section + "' on nvme has no place",
                        "expected " + section + ".nvme_path, got none", "give it, or --spill-dir");
    Entry& device = *file_.find(section + ".device");
    DeepSpeedFile::note(device, "the disk tier");
    if (path == nullptr) return;
    const std::string folder = path->get<std::string>();
    Entry& entry = *file_.find(section + ".nvme_path");
    if (std::ranges::find(folders, folder) != folders.end()) {
      DeepSpeedFile::note(entry, "--spill-dir " + folder);
      return;
    }
    folders.push_back(folder);
    put(entry, "spill-dir", folder);
  }

  void replace_old_offload(const std::string& old, const std::string& section, std::int64_t lowest_stage) {
    Entry* entry = file_.find("zero_optimization." + old);
    if (entry == nullptr) return;
    if (!file_.is_on(entry->row->key)) {
      DeepSpeedFile::note(*entry, "asks for nothing");
      return;
    }
    if (file_.find(section + ".device") != nullptr)
      throw ConfigError("deepspeed", "'zero_optimization." + old + "' is the old name of '" + section + "'",
                        "expected one of them, got both");
    if (stage() < lowest_stage)
      throw ConfigError("deepspeed", "'zero_optimization." + old + "' below stage 3",
                        "expected zero_optimization.stage 3, got " + std::to_string(stage()));
    DeepSpeedFile::note(*entry, "no effect: the plan holds in RAM what the budget allows");
  }

  void set_stage() {
    Entry* entry = file_.find(kStage);
    const Json* value = file_.value(kStage);
    if (entry == nullptr || value == nullptr) {
      put_default("zero-stage", "0");
      miss("zero_optimization.stage", "--zero-stage " + std::to_string(stage()));
    } else {
      put(*entry, "zero-stage", deepspeed_value_text(*value));
    }
  }

  void say_what_is_missing() {
    if (file_.find("gradient_clipping") == nullptr)
      miss("gradient_clipping",
           "--max-grad-norm " + print_real(elsewhere_.max_grad_norm) +
               (is_given("max-grad-norm") ? "" : ", as in DeepSpeed since June 2026; it was 0 before"));
  }

  DeepSpeedReading finish() {
    for (Entry& entry : file_.entries()) {
      if (entry.outcome.empty()) entry.outcome = "no effect: " + reason(entry);
      reading_.uses.push_back({std::string(entry.row->key), deepspeed_value_text(entry.value), entry.outcome});
    }
    reading_.uses.insert(reading_.uses.end(), missing_.begin(), missing_.end());
    return std::move(reading_);
  }

  std::string reason(const Entry& entry) {
    if (entry.row->fate != KeyFate::NoEffect) {
      for (const char* section : {"fp16", "bf16"}) {
        const std::string prefix = std::string(section) + ".";
        const DType dtype = prefix == "fp16." ? DType::Fp16 : DType::Bf16;
        if (entry.row->key.starts_with(prefix) && !is_format_on((prefix + "enabled").c_str(), dtype))
          return std::string(section) + " is off";
      }
      return "the other keys do not ask for it";
    }
    std::string text(entry.row->what);
    std::erase(text, '`');
    return text;
  }

  static constexpr const char* kMicroBatch = "train_micro_batch_size_per_gpu";
  static constexpr const char* kAccumulation = "gradient_accumulation_steps";

  DeepSpeedFile& file_;
  std::span<const NamedValue> given_;
  const Settings elsewhere_;
  const int num_ranks_;
  bool rule_is_ours_ = false, schedule_is_ours_ = false;
  DeepSpeedReading reading_;
  std::vector<DeepSpeedUse> missing_;
};

}  // namespace

DeepSpeedReading read_deepspeed(const std::filesystem::path& path, std::span<const NamedValue> given, int num_ranks) {
  DeepSpeedFile file(path);
  return Translation(file, given, num_ranks).run();
}

std::string to_text(std::span<const DeepSpeedUse> uses) {
  constexpr std::size_t kLongest = 24;
  const auto shown = [](const DeepSpeedUse& use) {
    return use.value.size() > kLongest ? use.value.substr(0, kLongest - 3) + "..." : use.value;
  };
  int key_width = 0, value_width = 0;
  for (const DeepSpeedUse& use : uses) {
    key_width = std::max(key_width, static_cast<int>(use.key.size()));
    value_width = std::max(value_width, static_cast<int>(shown(use).size()));
  }
  std::string text;
  for (const DeepSpeedUse& use : uses)
    text += formatted("  %-*s  %-*s  %s\n", key_width, use.key.c_str(), value_width, shown(use).c_str(),
                      use.outcome.c_str());
  return text;
}

}  // namespace sluice::recipe
