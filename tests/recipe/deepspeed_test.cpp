// DeepSpeed's configuration files: every sample becomes what it says or is refused for its one mistake, flags win, and
// nothing is ignored in silence.
#include "recipe/deepspeed.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "base/error.h"
#include "optim/rule.h"
#include "recipe/clipping.h"
#include "recipe/deepspeed_batch.h"
#include "recipe/deepspeed_keys.h"
#include "recipe/deepspeed_rules.h"
#include "recipe/option_table.h"
#include "recipe/support.h"

namespace sluice::recipe {
namespace {

namespace fs = std::filesystem;
using Flags = std::vector<NamedValue>;

fs::path sample(const std::string& name) { return fs::path(SLUICE_TEST_DATA) / "recipe/deepspeed" / (name + ".json"); }

Settings read(const fs::path& path, Flags flags = {}, int num_ranks = 1, std::string* table = nullptr) {
  flags.push_back({"deepspeed", path.string()});
  const Settings settings = read_settings(flags, {}, {.launched_ranks = num_ranks, .table = table});
  check_supported(settings);
  return settings;
}

class DeepSpeed : public testing::Test {
 protected:
  ~DeepSpeed() override { fs::remove(path_); }
  [[nodiscard]] fs::path file(const std::string& text) const {
    std::ofstream(path_) << text;
    return path_;
  }
  Settings settings(const std::string& text, const Flags& flags = {}, int num_ranks = 1) {
    return read(file(text), flags, num_ranks);
  }
  std::string error(const std::string& text, const Flags& flags = {}, int num_ranks = 1) {
    return error_of(file(text), flags, num_ranks);
  }
  static std::string error_of(const fs::path& path, const Flags& flags = {}, int num_ranks = 1) {
    try {
      (void)read(path, flags, num_ranks);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "no ConfigError";
  }
  static void expect_part(const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }

 private:
  const fs::path path_ = fs::path(testing::TempDir()) / ("sluice_ds_" + std::to_string(getpid()) + ".json");
};

constexpr const char* kBatch = "train_micro_batch_size_per_gpu: 1\n";

TEST_F(DeepSpeed, SampleOfAdamAndWarmup) {
  const Settings s = read(sample("zero0-fp16-adam-warmuplr"));
  EXPECT_EQ(s.micro_batch_size, 4);
  EXPECT_EQ(s.grad_accumulation, 8);
  EXPECT_EQ(s.optimizer, "adamw");
  EXPECT_EQ(s.lr, 1e-3);
  EXPECT_EQ(s.beta1, 0.8);
  EXPECT_EQ(s.beta2, 0.999);
  EXPECT_EQ(s.weight_decay, 3e-7);
  EXPECT_EQ(s.lr_schedule, "warmup_lr");
  EXPECT_EQ(
      s.lr_schedule_options,
      (std::map<std::string, std::string>{
          {"warmup_min_lr", "0"}, {"warmup_max_lr", "0.001"}, {"warmup_num_steps", "1000"}, {"warmup_type", "log"}}));
  EXPECT_EQ(s.weights_dtype, DType::Fp16);
  EXPECT_EQ(model_precision(s).master, optim::Master::Fp32);
  EXPECT_EQ(s.loss_scale, "dynamic");
  const optim::LossScaleOptions scale = loss_scale_options(s);
  EXPECT_EQ(scale.initial, 65536);
  EXPECT_EQ(scale.hysteresis, 2);
  EXPECT_EQ(s.zero_stage, 0);
  EXPECT_EQ(s.deepspeed, "");
}

TEST_F(DeepSpeed, SampleOfCosineCompletesItsBatchForAnyRanks) {
  EXPECT_EQ(read(sample("zero1-bf16-adamw-cosine")).grad_accumulation, 32);
  const Settings s = read(sample("zero1-bf16-adamw-cosine"), {}, 4);
  EXPECT_EQ(s.grad_accumulation, 8);
  EXPECT_EQ(s.weights_dtype, DType::Bf16);
  EXPECT_EQ(s.loss_scale, std::nullopt);
  EXPECT_EQ(s.zero_stage, 1);
  EXPECT_EQ(s.lr_schedule, "warmup_cosine_lr");
  EXPECT_EQ(s.lr_schedule_options.at("cos_min_ratio"), "0.1");
  EXPECT_EQ(s.reduce_dtype, DType::Bf16);
  EXPECT_EQ(read(sample("zero1-bf16-adamw-cosine")).reduce_dtype, std::nullopt) << "one rank exchanges nothing";
}

TEST_F(DeepSpeed, MuonHasARateForMatricesAndOneForTheRest) {
  const auto rates = [&](const std::string& params) {
    const Settings s = settings(std::string(kBatch) + "optimizer: {type: \"Muon\", params: {" + params + "}}");
    const auto of_rest = s.optimizer_options.find("adamw_lr");
    return std::pair(s.lr, of_rest == s.optimizer_options.end() ? "none" : of_rest->second);
  };
  using Rates = std::pair<double, std::string>;
  EXPECT_EQ(rates("lr: 0.01"), Rates(0.01, "none"));
  EXPECT_EQ(rates("lr: 0.01, adam_lr: 0.003"), Rates(0.01, "0.003"));
  EXPECT_EQ(rates("lr: 0.01, muon_lr: 0.02"), Rates(0.02, "0.01"));
  EXPECT_EQ(rates("lr: 0.01, muon_lr: 0.02, adam_lr: 0.003"), Rates(0.02, "0.003"));
  EXPECT_EQ(rates("muon_lr: 0.02"), Rates(0.02, "0.001"));
}

TEST_F(DeepSpeed, SamplesOfTheTrainerTakeFlagsAndDefaults) {
  const Settings plain = read(sample("zero2-offload-cpu-auto"));
  EXPECT_EQ(plain.micro_batch_size, 1);
  EXPECT_EQ(plain.weights_dtype, std::nullopt);
  EXPECT_EQ(plain.loss_scale, std::nullopt);
  EXPECT_EQ(plain.lr, Settings().lr);
  EXPECT_EQ(plain.lr_schedule_options, (std::map<std::string, std::string>{{"warmup_num_steps", "2"}}));
  const Settings given = read(sample("zero2-offload-cpu-auto"), {{"per_device_train_batch_size", "2"},
                                                                 {"gradient_accumulation_steps", "4"},
                                                                 {"learning_rate", "3e-4"},
                                                                 {"warmup-steps", "50"},
                                                                 {"weights-dtype", "fp16"},
                                                                 {"max-grad-norm", "0.5"}});
  EXPECT_EQ(given.micro_batch_size, 2);
  EXPECT_EQ(given.grad_accumulation, 4);
  EXPECT_EQ(given.lr, 3e-4);
  EXPECT_EQ(given.loss_scale, "dynamic");
  EXPECT_EQ(given.lr_schedule_options.at("warmup_num_steps"), "50");
  EXPECT_EQ(given.max_grad_norm, 0.5);
  EXPECT_EQ(read(sample("zero3-offload-cpu-auto"), {{"weights-dtype", "bf16"}}).zero_stage, 3);
}

TEST_F(DeepSpeed, SampleOfInfinitySpills) {
  const Settings s = read(sample("zero3-infinity-nvme"));
  EXPECT_EQ(s.spill_dir, std::vector<std::string>{"/local_nvme"});
  EXPECT_EQ(s.lr_schedule_options.at("total_num_steps"), "4000");
  EXPECT_EQ(loss_scale_options(s).initial, 1 << 20);
  EXPECT_EQ(loss_scale_options(s).window, 500);
  EXPECT_EQ(read(sample("zero3-infinity-nvme"), {{"spill-dir", "/mine"}}).spill_dir, std::vector<std::string>{"/mine"});
}

TEST_F(DeepSpeed, SampleOfLamb) {
  expect_part(error_of(sample("lamb-onecycle")), "4096 != 64 x 8 x 1; use --nproc 8, or change one of the three");
  const Settings s = read(sample("lamb-onecycle"), {{"nproc", "8"}});
  EXPECT_EQ(s.optimizer, "lamb");
  EXPECT_EQ(s.zero_stage, 1);
  EXPECT_EQ(s.loss_scale, "128");
  EXPECT_EQ(s.optimizer_options.at("max_coeff"), "0.3");
  EXPECT_EQ(s.optimizer_options.at("bias_correction"), "false");
  EXPECT_EQ(s.optimizer_options.at("use_nvlamb"), "true");
  EXPECT_EQ(s.eps, 1e-8);
  EXPECT_EQ(s.lr_schedule_options.at("cycle_momentum"), "true");
  EXPECT_EQ(s.lr_schedule_options.at("cycle_max_mom"), "0.99");
}

TEST_F(DeepSpeed, OtherSamples) {
  const Settings lion = read(sample("zero3-hybrid-plusplus"), {{"nproc", "8"}});
  EXPECT_EQ(lion.optimizer, "lion");
  EXPECT_EQ(lion.weight_decay, 0.3);
  EXPECT_EQ(lion.max_grad_norm, 0.5);
  EXPECT_EQ(read(sample("legacy-cpu-offload")).micro_batch_size, 16);
  EXPECT_EQ(read(sample("lr-range-test")).lr_schedule_options.at("lr_range_test_step_rate"), "5");
  const Settings one_bit = read(sample("onebit-adam"));
  EXPECT_EQ(one_bit.optimizer, "adamw");
  EXPECT_EQ(one_bit.grad_accumulation, 256);
  EXPECT_EQ(one_bit.optimizer_options.at("bias_correction"), "false");
}

TEST_F(DeepSpeed, BrokenSamplesAreRefusedForTheirMistake) {
  expect_part(error_of(sample("bad-batch-arithmetic")), "got 30 != 4 x 8 x 1; leave one of the three out");
  expect_part(error_of(sample("bad-fp16-and-bf16")), "fp16 and bf16 are both enabled");
  expect_part(error_of(sample("bad-param-offload-below-stage3")),
              "'zero_optimization.offload_param' on cpu below stage 3: expected zero_optimization.stage 3, got 2");
  expect_part(error_of(sample("bad-unknown-key")), "unknown key 'zero_optimisation'");
  expect_part(error_of(sample("bad-unknown-key")), "did you mean 'zero_optimization'?");
}

TEST_F(DeepSpeed, EverySampleIsTested) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(sample("x").parent_path())) names.insert(entry.path().stem());
  EXPECT_EQ(names.size(), 14U);
  for (const std::string& name : names)
    EXPECT_EQ(name.starts_with("bad-"),
              error_of(sample(name)) != "no ConfigError" && name != "lamb-onecycle" && name != "zero3-hybrid-plusplus")
        << name;
}

// runtime/config.py, _set_batch_related_parameters and _batch_assertion.
TEST(DeepSpeedBatch, AnyTwoGiveTheThird) {
  const auto complete = [](BatchSizes sizes, int ranks) {
    const BatchSizes all = complete_batch(sizes, ranks);
    return std::array<std::int64_t, 3>{*all.train, *all.micro, *all.accumulation};
  };
  using Three = std::array<std::int64_t, 3>;
  EXPECT_EQ(complete({.train = 32, .micro = 4}, 2), (Three{32, 4, 4}));
  EXPECT_EQ(complete({.train = 32, .accumulation = 4}, 2), (Three{32, 4, 4}));
  EXPECT_EQ(complete({.micro = 4, .accumulation = 4}, 2), (Three{32, 4, 4}));
  EXPECT_EQ(complete({.train = 32}, 2), (Three{32, 16, 1}));
  EXPECT_EQ(complete({.micro = 4}, 2), (Three{8, 4, 1}));
  EXPECT_EQ(complete({.train = 32, .micro = 4, .accumulation = 4}, 2), (Three{32, 4, 4}));
  for (const BatchSizes& bad :
       {BatchSizes{}, BatchSizes{.accumulation = 4}, BatchSizes{.train = 33, .micro = 4}, BatchSizes{.train = 1},
        BatchSizes{.train = 32, .micro = 4, .accumulation = 2}, BatchSizes{.micro = 0}, BatchSizes{.train = -2}})
    EXPECT_THROW(complete_batch(bad, 2), ConfigError);
}

TEST_F(DeepSpeed, FlagsWinAndTheTableSaysSo) {
  std::string table;
  const Settings s =
      read(sample("zero0-fp16-adam-warmuplr"),
           {{"lr", "5e-4"}, {"micro-batch-size", "2"}, {"zero-stage", "2"}, {"lr-schedule", "cosine"}}, 1, &table);
  EXPECT_EQ(s.lr, 5e-4);
  EXPECT_EQ(s.micro_batch_size, 2);
  EXPECT_EQ(s.grad_accumulation, 8) << "a flag against the other two: train_batch_size gives way";
  EXPECT_EQ(s.zero_stage, 2);
  EXPECT_EQ(s.lr_schedule, "cosine");
  EXPECT_TRUE(s.lr_schedule_options.empty());
  expect_part(table, "--lr is given and wins");
  expect_part(table, "--zero-stage is given and wins");
  expect_part(table, "16 rows a step of 1 rank");
  expect_part(table, "belongs to another one than --lr-schedule names");
}

TEST_F(DeepSpeed, KeysOfAConfigFileWinToo) {
  const fs::path config = fs::path(testing::TempDir()) / "sluice_ds_trainer.yaml";
  std::ofstream(config) << "deepspeed: " << sample("zero2-offload-cpu-auto").string()
                        << "\nlearning_rate: 2e-4\nper_device_train_batch_size: 3\n";
  const Settings s = read_settings({}, config);
  fs::remove(config);
  EXPECT_EQ(s.lr, 2e-4);
  EXPECT_EQ(s.micro_batch_size, 3);
  EXPECT_EQ(s.zero_stage, 2);
  EXPECT_EQ(from_json(to_json(s)), s) << "what is resolved needs the file no more";
}

TEST_F(DeepSpeed, OptimizersAreThoseOfDeepSpeed) {
  const auto rule = [&](const std::string& type, const std::string& params = "") {
    return settings(kBatch + ("optimizer: {type: \"" + type + "\", params: {" + params + "}}"));
  };
  EXPECT_EQ(rule("Adam").optimizer, "adamw") << "adam_w_mode is true unless the file says otherwise";
  EXPECT_EQ(rule("Adam", "adam_w_mode: false").optimizer, "adam");
  EXPECT_EQ(rule("AdamW", "adam_w_mode: false").optimizer, "adamw");
  EXPECT_EQ(rule("ADAM").lr, 1e-3) << "DeepSpeed's default, not ours";
  EXPECT_EQ(rule("Adam").weight_decay, 0);
  EXPECT_EQ(rule("Lion").lr, 1e-4);
  EXPECT_EQ(rule("SGD", "lr: 0.1, momentum: 0.9, nesterov: true").optimizer_options.at("nesterov"), "true");
  EXPECT_EQ(rule("RMSprop", "lr: 0.1, alpha: 0.5").optimizer_options.at("alpha"), "0.5");
  EXPECT_EQ(rule("Lamb").optimizer_options.at("max_coeff"), "10");
  EXPECT_EQ(rule("OneBitLamb").optimizer, "lamb");
  for (const char* type : {"MuAdam", "Adamax", "Shampoo"}) {
    const std::string text = kBatch + ("optimizer: {type: \"" + std::string(type) + "\"}");
    EXPECT_NE(error(text), "no ConfigError") << type;
  }
  expect_part(error(std::string(kBatch) + "optimizer: {params: {lr: 1}}"), "has no type");
  expect_part(error(std::string(kBatch) + "optimizer: {type: \"Adam\", params: {max_grad_norm: 1.0}}"),
              "gradient_clipping");
  expect_part(error(std::string(kBatch) + "optimizer: {type: \"Adam\", params: {weight_decy: 1}}"),
              "did you mean 'optimizer.params.weight_decay'?");
  EXPECT_EQ(settings(std::string(kBatch) + "optimizer: {type: \"Lamb\"}", {{"optimizer", "lomo"}}).optimizer, "lomo");
}

TEST_F(DeepSpeed, SchedulesHaveDeepSpeedsDefaults) {
  const auto schedule = [&](const std::string& text) {
    return settings(kBatch + ("scheduler: {type: " + text + "}")).lr_schedule_options;
  };
  EXPECT_EQ(schedule("\"WarmupDecayLR\", params: {warmup_num_steps: 1}").at("warmup_max_lr"), "0.001");
  EXPECT_EQ(schedule("\"WarmupDecayLR\", params: {warmup_num_steps: 1}").at("warmup_num_steps"), "2");
  EXPECT_EQ(schedule("\"OneCycle\", params: {cycle_min_lr: 0}").at("cycle_momentum"), "true");
  EXPECT_EQ(schedule("\"OneCycle\", params: {cycle_min_lr: 0, cycle_momentum: false}").at("cycle_momentum"), "false");
  expect_part(error(std::string(kBatch) + "scheduler: {type: \"Cosine\"}"), "one of WarmupLR, WarmupDecayLR");
  expect_part(error(std::string(kBatch) + "scheduler: {type: \"WarmupLR\", params: {cycle_min_lr: 1}}"),
              "has no option 'cycle_min_lr'");
}

TEST_F(DeepSpeed, OldFormsAreRead) {
  EXPECT_EQ(settings(std::string(kBatch) + "zero_optimization: true").zero_stage, 1);
  EXPECT_EQ(settings(std::string(kBatch) + "zero_optimization: false").zero_stage, 0);
  EXPECT_EQ(settings(kBatch).zero_stage, 0) << "DeepSpeed's default";
  EXPECT_EQ(settings(std::string(kBatch) + "bfloat16: {enabled: true}").weights_dtype, DType::Bf16);
  expect_part(error(std::string(kBatch) + "bfloat16: {enabled: true}, bf16: {enabled: true}"), "one section");
  expect_part(error(std::string(kBatch) +
                    "zero_optimization: {stage: 3, cpu_offload: true, offload_optimizer: {device: \"cpu\"}}"),
              "expected one of them, got both");
  expect_part(error(std::string(kBatch) + "zero_optimization: {stage: 2, cpu_offload_param: true}"), "below stage 3");
}

TEST_F(DeepSpeed, PrecisionAndScales) {
  const Settings none = settings(kBatch);
  EXPECT_EQ(none.weights_dtype, std::nullopt);
  EXPECT_EQ(settings(std::string(kBatch) + "fp16: {enabled: false, loss_scale: 0}").loss_scale, std::nullopt);
  const Settings fixed = settings(std::string(kBatch) + "fp16: {enabled: true, loss_scale: 1.28e2, hysteresis: 4}");
  EXPECT_EQ(fixed.loss_scale, "128");
  EXPECT_TRUE(fixed.loss_scale_options.empty());
  EXPECT_EQ(settings(std::string(kBatch) + "fp16: {enabled: true}", {{"weights-dtype", "fp32"}}).loss_scale,
            std::nullopt);
  const Settings lean = settings(
      std::string(kBatch) + "bf16: {enabled: true, bf16_master_weights_and_grads: true, bf16_optimizer_states: true}");
  EXPECT_EQ(lean.master_dtype, optim::Master::None);
  EXPECT_EQ(lean.moments_dtype, DType::Bf16);
  expect_part(error(std::string(kBatch) + "fp16: {enabled: true, loss_scale: -1}"), "expected 0 (dynamic) or more");
  expect_part(error(std::string(kBatch) + "fp16: {enabled: true, loss_scale: true}"), "expected a number, got true");
}

TEST_F(DeepSpeed, DisksNeedAPathAndStageThree) {
  const auto offload = [](const std::string& stage, const std::string& path) {
    return std::string(kBatch) + "zero_optimization: {stage: " + stage + ", offload_optimizer: {device: nvme" + path +
           "\n}}";
  };
  expect_part(error(offload("3", "")), "expected zero_optimization.offload_optimizer.nvme_path, got none");
  expect_part(error(offload("2", "\nnvme_path: \"/a\"")), "below stage 3");
  EXPECT_EQ(settings(offload("3", "\nnvme_path: \"/a\"")).spill_dir, std::vector<std::string>{"/a"});
  EXPECT_EQ(settings(offload("3", ""), {{"spill-dir", "/b"}}).spill_dir, std::vector<std::string>{"/b"});
}

TEST_F(DeepSpeed, WhatWouldChangeTheResultIsRefusedWhereItAsksForSomething) {
  for (const DeepSpeedKey& row : deepspeed_keys()) {
    if (row.fate != KeyFate::Refused) continue;
    EXPECT_FALSE(row.what.empty()) << row.key;
  }
  EXPECT_NO_THROW(settings(std::string(kBatch) +
                           "elasticity: {enabled: false, min_gpus: 4}, amp: {opt_level: \"O1\"},\n"
                           "sequence_parallel_size: 1, gradient_allreduce_op: \"mean\",\n"
                           "tensor_parallel: {autotp_size: 0}"));
  for (const char* text : {"elasticity: {enabled: true}", "amp: {enabled: true}", "sequence_parallel_size: 2",
                           "gradient_allreduce_op: \"sum\"", "tensor_parallel: {autotp_size: 4}",
                           "compression_training: {weight_quantization: {shared_parameters: {enabled: true}}}",
                           "zero_optimization: {zenflow: {topk_ratio: 0.1}}", "sparse_attention: {mode: \"fixed\"}"})
    expect_part(error(std::string(kBatch) + text), "is not available in this version");
}

// From DeepSpeed's pages (getting started, CIFAR-10, 1-bit LAMB, one cycle) and the Trainer's.
TEST_F(DeepSpeed, ExamplesOfTheDocumentationAreRead) {
  const Settings started = settings(R"({"train_batch_size": 8, "gradient_accumulation_steps": 1,
      "optimizer": {"type": "Adam", "params": {"lr": 0.00015}}, "fp16": {"enabled": true}, "zero_optimization": true})");
  EXPECT_EQ(started.micro_batch_size, 8);
  EXPECT_EQ(started.lr, 0.00015);
  EXPECT_EQ(started.zero_stage, 1);
  const Settings cifar = settings(R"({"train_batch_size": 16, "steps_per_print": 2000,
      "optimizer": {"type": "Adam", "params": {"lr": 0.001, "betas": [0.8, 0.999], "eps": 1e-8, "weight_decay": 3e-7}},
      "scheduler": {"type": "WarmupLR", "params": {"warmup_min_lr": 0, "warmup_max_lr": 0.001, "warmup_num_steps": 1000}},
      "wall_clock_breakdown": false})");
  EXPECT_EQ(cifar.beta1, 0.8);
  const Settings lamb = settings(R"({"train_batch_size": 65536, "train_micro_batch_size_per_gpu": 64,
      "optimizer": {"type": "OneBitLamb", "params": {"lr": 11e-3, "max_coeff": 0.3, "min_coeff": 0.01, "freeze_step": 1000,
      "cuda_aware": false, "comm_backend_name": "nccl", "coeff_beta": 0.9, "factor_max": 4.0, "factor_min": 0.5,
      "factor_threshold": 0.1}}, "gradient_clipping": 1.0, "fp16": {"enabled": true, "loss_scale": 0,
      "initial_scale_power": 16}})");
  EXPECT_EQ(lamb.optimizer, "lamb");
  EXPECT_EQ(lamb.optimizer_options.at("max_coeff"), "0.3");
  const Settings cycle = settings(R"({"train_micro_batch_size_per_gpu": 1, "optimizer": {"type": "AdamW"},
      "scheduler": {"type": "OneCycle", "params": {"cycle_first_step_size": 1000, "cycle_first_stair_count": 500,
      "cycle_second_step_size": 1000, "cycle_second_stair_count": 500, "decay_step_size": 1000, "cycle_min_lr": 0.0001,
      "cycle_max_lr": 0.0010, "decay_lr_rate": 0.001, "cycle_min_mom": 0.85, "cycle_max_mom": 0.99,
      "decay_mom_rate": 0.0}}})");
  EXPECT_EQ(cycle.lr_schedule, "one_cycle");
  const Settings trainer = settings(R"({"train_batch_size": "auto", "train_micro_batch_size_per_gpu": "auto",
      "amp": {"enabled": "auto", "opt_level": "auto"}, "zero_optimization": {"stage": 3, "sub_group_size": 1e9,
      "offload_optimizer": {"device": "nvme", "nvme_path": "/local_nvme", "pin_memory": true, "buffer_count": 4,
      "fast_init": false}, "offload_param": {"device": "nvme", "nvme_path": "/local_nvme", "pin_memory": true,
      "buffer_count": 5, "buffer_size": 1e8, "max_in_cpu": 1e9}, "aio": {"block_size": 262144, "queue_depth": 32,
      "thread_count": 1, "single_submit": false, "overlap_events": true}}})");
  EXPECT_EQ(trainer.spill_dir, std::vector<std::string>{"/local_nvme"});
}

TEST_F(DeepSpeed, NamesTheNearestKeyAndTheRightPlace) {
  expect_part(error(std::string(kBatch) + "zero_optimization: {stag: 3}"), "did you mean 'zero_optimization.stage'?");
  expect_part(error(std::string(kBatch) + "zero_optimization: {gradient_clipping: 1}"),
              "it stands elsewhere: 'gradient_clipping'");
  expect_part(error(std::string(kBatch) + "stage: 3"), "it stands elsewhere: 'zero_optimization.stage'");
  expect_part(error("train_batch_size: 8, train_batch_size: 8"), "each key once");
  expect_part(error(std::string(kBatch) + "gradient_clipping: \"1.0\""), "expected a number, got \"1.0\"");
  expect_part(error(std::string(kBatch) + "zero_optimization: 3"), "expected a section, got 3");
  expect_part(error("gradient_accumulation_steps: 4"), "expected train_batch_size or train_micro_batch_size_per_gpu");
  EXPECT_NO_THROW(settings("train_batch_size: 8, zero_optimization: {reduce_bucket_size: 5e8, sub_group_size: 1e9}"))
      << "a float is a whole number where it is one";
}

TEST(DeepSpeedKeys, EachStandsOnceWithAReason) {
  std::set<std::string_view> seen;
  for (const DeepSpeedKey& row : deepspeed_keys()) {
    EXPECT_TRUE(seen.insert(row.key).second) << row.key << " stands twice";
    EXPECT_FALSE(is_deepspeed_section(row.key)) << row.key << " is a section, too";
    EXPECT_FALSE(row.what.empty()) << row.key;
    if (!row.option.empty()) {
      EXPECT_NE(find_option(row.option), nullptr) << row.key;
    }
    EXPECT_EQ(find_deepspeed_key(row.key), &row);
  }
}

TEST(DeepSpeedKeys, RulesThatAreMappedExistHere) {
  for (const char* type :
       {"Adam", "AdamW", "Adagrad", "Lamb", "Lion", "Muon", "SGD", "OneBitAdam", "ZeroOneAdam", "OneBitLamb"}) {
    const DeepSpeedRule rule = deepspeed_rule(type, true);
    EXPECT_EQ(std::ranges::count(optim::rule_catalog(), rule.rule, &optim::RuleRow::name), 1) << type;
  }
}

// `sluice list deepspeed` writes it.
TEST(DeepSpeedKeys, StandInTheDocument) {
  std::ifstream file(fs::path(SLUICE_TEST_DATA) / "../../docs/deepspeed.md");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  EXPECT_NE(text.find(deepspeed_keys_table()), std::string::npos)
      << "put the output of `sluice list deepspeed` into docs/deepspeed.md";
}

}  // namespace
}  // namespace sluice::recipe
