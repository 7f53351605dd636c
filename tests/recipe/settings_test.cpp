// Settings: text forms read back exactly, every spelling is found, files and flags in their order of precedence.
#include "recipe/settings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>

#include "base/error.h"
#include "recipe/option_table.h"

namespace sluice::recipe {
namespace {

namespace fs = std::filesystem;

/// A config file of one test.
class ConfigFile {
 public:
  ConfigFile(const std::string& extension, const std::string& text) {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    path_ = fs::path(testing::TempDir()) / (std::string("sluice_") + test->name() + extension);
    std::ofstream(path_) << text;
  }
  ~ConfigFile() { fs::remove(path_); }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

Settings from_flags(const std::vector<NamedValue>& flags) { return read_settings(flags); }
Settings from_file(const std::string& extension, const std::string& text) {
  return read_settings({}, ConfigFile(extension, text).path());
}

std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no ConfigError";
}

/// Every field differs from its default.
Settings everything() {
  return from_flags({{"model", "m \"x\""},
                     {"data", "d.txt"},
                     {"data-format", "text"},
                     {"tokenizer", "byte"},
                     {"output", "off"},
                     {"eval-data", "h: e"},
                     {"validation-split", "0.1"},
                     {"chat-template", "c.jinja"},
                     {"chat", "true"},
                     {"system", "s"},
                     {"metrics", "m.jsonl"},
                     {"json", "1e5"},
                     {"init", "random"},
                     {"host-memory", "1.5GiB"},
                     {"device-memory", "24GB"},
                     {"update-on", "device"},
                     {"disk-memory", "1TiB"},
                     {"spill-dir", "/a,/b c"},
                     {"disk-write-limit", "200GB/day"},
                     {"device", "cpu"},
                     {"machine", "laptop-8gb"},
                     {"threads", "3"},
                     {"seq-len", "128"},
                     {"micro-batch-size", "4"},
                     {"grad-accumulation", "8"},
                     {"max-steps", "100"},
                     {"epochs", "2.5"},
                     {"max-time", "90min"},
                     {"seed", "18446744073709551615"},
                     {"shuffle", "false"},
                     {"optimizer", "sgd"},
                     {"lr", "0.1"},
                     {"weight-decay", "1e-3"},
                     {"betas", "0.8,0.95"},
                     {"eps", "1e-6"},
                     {"momentum", "0.9"},
                     {"decay", "all"},
                     {"optimizer-option", "nesterov=true"},
                     {"param-group", "*embed*:lr=1e-6,weight_decay=0,*.norm.*:lr_factor=0.5"},
                     {"lr-schedule", "linear"},
                     {"lr-schedule-option", "min_lr=1e-4"},
                     {"warmup-steps", "7"},
                     {"max-grad-norm", "0.3"},
                     {"clip-mode", "two-pass"},
                     {"update", "sweep"},
                     {"nan-policy", "stop"},
                     {"max-skipped-steps", "3"},
                     {"freeze", "*.norm.*,lm_head.weight"},
                     {"adapter", "lora"},
                     {"adapter-path", "/adapter"},
                     {"lora-rank", "16"},
                     {"lora-alpha", "32.5"},
                     {"lora-targets", "q_proj,o_proj"},
                     {"lora-dropout", "0.05"},
                     {"lora-rank-pattern", "o_proj=4"},
                     {"lora-alpha-pattern", "o_proj=2"},
                     {"base-optimizer", "lomo"},
                     {"base-lr", "5e-3"},
                     {"base-weight-decay", "0"},
                     {"base-dtype", "nf4"},
                     {"base-optimizer-option", "clip_threshold=2"},
                     {"weights-dtype", "bf16"},
                     {"master-dtype", "split"},
                     {"moments-dtype", "fp16"},
                     {"reduce-dtype", "bf16"},
                     {"compute-dtype", "bf16"},
                     {"dtype", "fp16"},
                     {"loss-scale", "128"},
                     {"loss-scale-option", "hysteresis=3"},
                     {"stochastic-rounding", "true"},
                     {"activations", "spill"},
                     {"schedule", "horizontal"},
                     {"nproc", "2"},
                     {"nodes", "8"},
                     {"restarts", "4"},
                     {"collective", "gloo"},
                     {"collective-timeout", "30s"},
                     {"zero-stage", "3"},
                     {"zero-shard-size", "2"},
                     {"reduce-order", "fixed"},
                     {"gradient-compression", "1bit"},
                     {"compression-warmup-steps", "40"},
                     {"save-steps", "50"},
                     {"keep", "5"},
                     {"resume", "never"},
                     {"keep-best", "true"},
                     {"eval-steps", "25"},
                     {"max-tokens", "4096"},
                     {"tasks", "arc.jsonl,copa.jsonl"},
                     {"predictions", "p.jsonl"},
                     {"few-shot", "3"},
                     {"few-shot-data", "train.jsonl"},
                     {"limit", "100"},
                     {"add-bos", "true"},
                     {"merge-adapter", "true"},
                     {"prompt", "line\nbreak: #1 \xc3\xa9"},
                     {"max-new-tokens", "9"},
                     {"temperature", "0.7"},
                     {"top-k", "5"},
                     {"top-p", "0.95"},
                     {"dry-run", "true"},
                     {"verbose", "true"}});
}

TEST(Settings, ParamGroupsComeAsFlagsAndAsLists) {
  const Settings flags = read_settings(std::vector<NamedValue>{{"param-group", "*embed*:lr=1e-6,weight-decay=0"},
                                                               {"param-group", "model.layers.[01].*:lr_factor=0.5"}});
  ASSERT_EQ(flags.param_groups.size(), 2U);
  EXPECT_EQ(flags.param_groups[0], (ParamGroup{"*embed*", 1e-6, {}, 0.0}));
  EXPECT_EQ(flags.param_groups[1], (ParamGroup{"model.layers.[01].*", {}, 0.5, {}}));
  const Settings yaml =
      from_file(".yaml", "param_groups: [\"*embed*:lr=1e-6,weight_decay=0\", \"model.layers.[01].*:lr_factor=0.5\"]\n");
  EXPECT_EQ(yaml.param_groups, flags.param_groups);
  EXPECT_EQ(from_json(to_json(flags)).param_groups, flags.param_groups);
  for (const char* bad : {"lr=1", "a", "a:", ":lr=1", "a:lr", "a:lr=x", "a:lr=-1", "a:beta1=0", "a:lr=1,lr_factor=2"})
    EXPECT_THROW(read_settings(std::vector<NamedValue>{{"param-group", bad}}), ConfigError) << bad;
}

TEST(Settings, OneBetaAloneReadsBack) {
  const Settings settings = read_settings(std::vector<NamedValue>{{"adam_beta2", "0.95"}});
  EXPECT_EQ(settings.beta1, std::nullopt);
  EXPECT_EQ(from_json(to_json(settings)), settings);
  EXPECT_EQ(from_file(".yaml", to_yaml(settings)), settings);
}

TEST(Settings, DeepSpeedsScheduleNamesAreRows) {
  const auto schedule = [](const char* typed) {
    return read_settings(std::vector<NamedValue>{{"lr-schedule", typed}}).lr_schedule;
  };
  EXPECT_EQ(schedule("WarmupDecayLR"), "warmup_decay_lr");
  EXPECT_EQ(schedule("OneCycle"), "one_cycle");
  EXPECT_EQ(schedule("LRRangeTest"), "lr_range_test");
  EXPECT_EQ(schedule("cosine-with-restarts"), "cosine_with_restarts");
}

TEST(Settings, JsonReadsBackToEqualSettings) {
  EXPECT_EQ(from_json(to_json(Settings())), Settings());
  EXPECT_EQ(from_json(to_json(everything())), everything());
}

TEST(Settings, YamlReadsBackToEqualSettings) {
  EXPECT_EQ(from_file(".yaml", to_yaml(Settings())), Settings());
  EXPECT_EQ(from_file(".yaml", to_yaml(everything())), everything());
}

TEST(Settings, YamlNumbersAreNumbersToReadersOfYaml11) {
  EXPECT_NE(to_yaml(Settings()).find("lr: 1.0e-05\n"), std::string::npos);
}

TEST(Settings, EveryOptionIsInTheRoundTripTest) {
  const Settings changed = everything();
  const Settings defaults;
  for (const OptionRow& row : option_table()) {
    if (!row.hidden && row.name != "deepspeed") {  // a file that is read before anybody sees settings
      EXPECT_NE(row.print(changed), row.print(defaults)) << row.name;
    }
  }
}

TEST(Settings, DoublesKeepEveryBit) {
  Settings settings;
  settings.lr = 0.1 + 0.2;
  settings.max_time = 1.0 / 3;
  EXPECT_EQ(from_json(to_json(settings)).lr, settings.lr);
  EXPECT_EQ(from_json(to_json(settings)).max_time, settings.max_time);
}

TEST(Settings, HyphensAndUnderscoresAreTheSame) {
  EXPECT_EQ(from_flags({{"max_steps", "3"}}).max_steps, 3);
  EXPECT_EQ(from_flags({{"max-steps", "3"}}).max_steps, 3);
  EXPECT_EQ(from_flags({{"per-device_train-batch_size", "3"}}).micro_batch_size, 3);
}

TEST(Settings, KnowsTheSpellingsOfOtherPrograms) {
  const std::vector<NamedValue> flags = {{"model_name_or_path", "m"},
                                         {"output_dir", "o"},
                                         {"per_device_train_batch_size", "4"},
                                         {"gradient_accumulation_steps", "8"},
                                         {"learning_rate", "2e-5"},
                                         {"num_train_epochs", "3.0"},
                                         {"cutoff_len", "1024"},
                                         {"lr_scheduler_type", "linear"},
                                         {"max_grad_norm", "0.5"},
                                         {"save_total_limit", "4"},
                                         {"resume_from_checkpoint", "true"},
                                         {"optim", "adamw_torch"},
                                         {"adam_beta1", "0.8"},
                                         {"adam_beta2", "0.95"},
                                         {"adam_epsilon", "1e-6"},
                                         {"gradient_checkpointing", "true"}};
  const Settings settings = from_flags(flags);
  EXPECT_EQ(settings.model, "m");
  EXPECT_EQ(settings.output, "o");
  EXPECT_EQ(settings.micro_batch_size, 4);
  EXPECT_EQ(settings.grad_accumulation, 8);
  EXPECT_EQ(settings.lr, 2e-5);
  EXPECT_EQ(settings.epochs, 3.0);
  EXPECT_EQ(settings.seq_len, 1024);
  EXPECT_EQ(settings.lr_schedule, "linear");
  EXPECT_EQ(settings.max_grad_norm, 0.5);
  EXPECT_EQ(settings.keep, 4);
  EXPECT_EQ(settings.resume, "auto");
  EXPECT_EQ(settings.optimizer, "adamw");
  EXPECT_EQ(settings.beta1, 0.8);
  EXPECT_EQ(settings.beta2, 0.95);
  EXPECT_EQ(settings.eps, 1e-6);
  EXPECT_EQ(settings.activations, ActivationMode::Recompute);
  const Settings adapter = from_flags({{"finetuning_type", "lora"},
                                       {"lora_r", "4"},
                                       {"lora_alpha", "16"},
                                       {"lora_target", "all"},
                                       {"lora_model_dir", "a"},
                                       {"peft_use_rslora", "true"}});
  EXPECT_EQ(adapter.adapter, "lora");
  EXPECT_EQ(adapter.lora_rank, 4);
  EXPECT_EQ(adapter.lora_alpha, 16);
  EXPECT_EQ(adapter.lora_targets, std::vector<std::string>{"all-linear"});
  EXPECT_EQ(adapter.adapter_path, "a");
  EXPECT_EQ(adapter.use_rslora, true);
  EXPECT_EQ(from_flags({{"finetuning_type", "full"}}).adapter, "");
  EXPECT_EQ(from_flags({{"lora_target_linear", "true"}}).lora_targets, std::vector<std::string>{"all-linear"});
  for (const char* name : {"max_seq_length", "sequence_len"}) EXPECT_EQ(from_flags({{name, "64"}}).seq_len, 64) << name;
  for (const char* name : {"base_model", "model"}) EXPECT_EQ(from_flags({{name, "x"}}).model, "x") << name;
}

TEST(Settings, NoSpellingNamesTwoOptions) {
  std::vector<std::string> names = all_option_names();
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST(Settings, ReadsYamlAndJsonFiles) {
  const Settings yaml = from_file(".yaml",
                                  "# a comment\nseq_len: 64\nlearning_rate: 2.0e-4\nshuffle: no\nmax_steps: ~\n"
                                  "spill_dir: [/a, /b]\nbetas: [0.9, 0.95]\noptimizer-option: {nesterov: true}\n"
                                  "lr_scheduler_kwargs: {min_lr: 1.0e-5}\n");
  EXPECT_EQ(yaml.seq_len, 64);
  EXPECT_EQ(yaml.lr, 2e-4);
  EXPECT_FALSE(yaml.shuffle);
  EXPECT_FALSE(yaml.max_steps);
  EXPECT_EQ(yaml.spill_dir, (std::vector<std::string>{"/a", "/b"}));
  EXPECT_EQ(yaml.beta2, 0.95);
  EXPECT_EQ(yaml.optimizer_options.at("nesterov"), "true");
  EXPECT_EQ(yaml.lr_schedule_options.at("min_lr"), "1.0e-5");
  const Settings json = from_file(".json", R"({"seq-len": 64.0, "host_memory": "1GiB", "max_steps": -1, "keep": 3})");
  EXPECT_EQ(json.seq_len, 64);
  EXPECT_EQ(json.host_memory, GiB);
  EXPECT_FALSE(json.max_steps);
  EXPECT_EQ(json.keep, 3);
  EXPECT_EQ(from_file(".yaml", ""), Settings());
}

TEST(Settings, AFlagWinsOverTheFile) {
  const ConfigFile file(".yaml", "lr: 0.5\nseq_len: 64\nspill_dir: /from/file\n");
  const std::vector<NamedValue> flags = {{"learning-rate", "0.25"}, {"spill-dir", "/x"}, {"spill_dir", "/y"}};
  const Settings settings = read_settings(flags, file.path());
  EXPECT_EQ(settings.lr, 0.25);
  EXPECT_EQ(settings.seq_len, 64);
  EXPECT_EQ(settings.spill_dir, (std::vector<std::string>{"/x", "/y"}));
}

TEST(Settings, NamesTheNearestOptionForAnUnknownOne) {
  EXPECT_NE(error_of([] { from_flags({{"max-step", "1"}}); }).find("did you mean '--max-steps'"), std::string::npos);
  EXPECT_NE(error_of([] { from_file(".yaml", "lerning_rate: 1\n"); }).find("did you mean 'learning-rate'"),
            std::string::npos);
}

TEST(Settings, RefusesOneKeyInTwoSpellings) {
  EXPECT_NE(error_of([] { from_file(".yaml", "lr: 1\nlearning_rate: 2\n"); }).find("stands twice"), std::string::npos);
  EXPECT_NE(error_of([] { from_file(".yaml", "lr: 1\nlr: 2\n"); }), "no ConfigError");
  EXPECT_NE(error_of([] { from_file(".json", R"({"lr": 1, "lr": 2})"); }), "no ConfigError");
}

TEST(Settings, RefusesFilesThatAreNoConfiguration) {
  for (const char* text : {"- a\n- b\n", "lr: [", "just text", "lr: 1\n---\nlr: 2\n", "lr: {a: {b: 1}}\n",
                           "? [a, b]\n: 1\n", "data: [[1], [2]]\n"}) {
    EXPECT_NE(error_of([&] { from_file(".yaml", text); }), "no ConfigError") << text;
  }
  EXPECT_NE(error_of([] { from_file(".json", "[1]"); }), "no ConfigError");
  EXPECT_NE(error_of([] { from_file(".json", R"({"lr": )"); }), "no ConfigError");
  EXPECT_THROW(read_settings({}, "/nowhere/at/all.yaml"), IoError);
}

TEST(Settings, RefusesValuesOutOfRange) {
  const std::vector<NamedValue> wrong = {{"seq-len", "1"},
                                         {"seq-len", "x"},
                                         {"seq-len", "12.5"},
                                         {"seq-len", ""},
                                         {"seq-len", "1e30"},
                                         {"micro-batch-size", "0"},
                                         {"grad-accumulation", "-1"},
                                         {"max-steps", "0"},
                                         {"epochs", "0"},
                                         {"epochs", "nan"},
                                         {"lr", "-1"},
                                         {"lr", "inf"},
                                         {"lr", "0.1x"},
                                         {"betas", "0.9"},
                                         {"betas", "0.9,1"},
                                         {"betas", "0.9,0.99,0.999"},
                                         {"eps", "-1"},
                                         {"momentum", "-0.1"},
                                         {"decay", "some"},
                                         {"warmup-steps", "-1"},
                                         {"host-memory", "0"},
                                         {"host-memory", "lots"},
                                         {"disk-write-limit", "5/week"},
                                         {"max-time", "0"},
                                         {"max-time", "5 parsecs"},
                                         {"clip-mode", "none"},
                                         {"update", "later"},
                                         {"weights-dtype", "int8"},
                                         {"loss-scale", "0"},
                                         {"stochastic-rounding", "maybe"},
                                         {"activations", "drop"},
                                         {"schedule", "diagonal"},
                                         {"nproc", "0"},
                                         {"zero-stage", "4"},
                                         {"save-steps", "0"},
                                         {"keep", "0"},
                                         {"eval-steps", "0"},
                                         {"max-new-tokens", "0"},
                                         {"temperature", "-1"},
                                         {"top-k", "-1"},
                                         {"top-p", "0"},
                                         {"top-p", "1.5"},
                                         {"seed", "-1"},
                                         {"threads", "0"},
                                         {"init", "zero"},
                                         {"resume", ""},
                                         {"optimizer-option", "novalue"}};
  for (const NamedValue& flag : wrong) {
    const std::string message = error_of([&] { from_flags({flag}); });
    EXPECT_NE(message, "no ConfigError") << flag.name << "=" << flag.value;
    EXPECT_NE(message.find("expected"), std::string::npos) << message;
  }
}

TEST(Settings, TheListOfFlagsIsTheFrozenOne) {
  std::ifstream file(std::string(SLUICE_TEST_DATA) + "/recipe/flags.txt");
  std::vector<std::string> frozen;
  for (std::string line; std::getline(file, line);) frozen.push_back(line);
  std::vector<std::string> flags;
  for (const OptionRow& row : option_table()) {
    if (!row.hidden) flags.push_back("--" + row.name);
  }
  EXPECT_EQ(flags, frozen) << "users and scripts rely on these names: adding one is fine (add it to the file), "
                              "renaming or removing one is not";
}

}  // namespace
}  // namespace sluice::recipe
