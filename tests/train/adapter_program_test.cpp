// Adapters and frozen parameters as a user has them: trained, resumed, evaluated, trained on, merged.
#include <algorithm>
#include <filesystem>
#include <span>

#include "base/nf4.h"
#include "format/weight_source.h"
#include "train/training_program.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

class AdapterProgram : public TrainingProgram {
 protected:
  void SetUp() override {
    TrainingProgram::SetUp();
    ASSERT_EQ(train("base", "--max-steps 1").exit_code, 0);
  }
  /// Steps of an adapter of `base`.
  cli::ProgramResult adapt(const std::string& output, const std::string& more = {}, const std::string& before = {}) {
    return run("train --model " + path("base") + " --data " + path("data.safetensors") + " --output " + path(output) +
                   " --seq-len 32 --micro-batch-size 2 --grad-accumulation 2 --max-steps 6 --lr 1e-2 --threads 2 " +
                   more,
               before);
  }
  /// What a run with these flags needs at least beside a disk, or little where no budget that counts is too small.
  Bytes least_budget(const std::string& flags) {
    const auto refusal = [&](Bytes bytes) {
      return adapt("plan", flags + " --dry-run " + spill() + budget(bytes)).err;
    };
    std::smatch found;
    const std::string alone = refusal(16 * MiB);
    EXPECT_TRUE(std::regex_search(alone, found, std::regex(R"(needs ([0-9.]+) MiB)"))) << alone;
    if (found.empty()) return 0;
    const Bytes probe = static_cast<Bytes>(std::stod(found[1]) * static_cast<double>(MiB)) + MiB + kSpread;
    const std::string refused = refusal(probe);
    const bool named = std::regex_search(refused, found, std::regex(R"(\(([0-9]+) bytes)"));
    return (named ? std::stoll(found[1]) : probe) + kSpread;
  }
  [[nodiscard]] std::string adapter_of(const std::string& output) const {
    return cli::read_whole(scratch_.file(output) / "adapter_model.safetensors");
  }
  double held_out_loss(const std::string& arguments) {
    const auto result = run("eval " + arguments + " --data " + path("held-out.safetensors") + " --json " +
                            path("eval.json") + " --threads 2");
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return Json::parse(cli::read_whole(path("eval.json"))).at("loss");
  }
};

constexpr const char* kLora = "--adapter lora --lora-rank 4 --lora-alpha 16 --lora-targets all-linear ";

TEST_F(AdapterProgram, TrainsAnAdapterThatPeftCanReadAndLeavesTheBaseAlone) {
  const std::string base = weights_of("base");
  const auto result = adapt("lora", kLora);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.err.find(" of them trained"), std::string::npos) << result.err;
  EXPECT_EQ(weights_of("base"), base);
  EXPECT_FALSE(fs::exists(path("lora/model.safetensors")));
  EXPECT_FALSE(fs::exists(path("lora/config.json")));
  const Json config = Json::parse(cli::read_whole(path("lora/adapter_config.json")));
  EXPECT_EQ(config["peft_type"], "LORA");
  EXPECT_EQ(config["r"], 4);
  EXPECT_EQ(config["lora_alpha"], 16);
  EXPECT_EQ(config["base_model_name_or_path"], path("base"));
  EXPECT_EQ(config["target_modules"].size(), 7U);
  const auto weights = format::open_weights(path("lora/adapter_model.safetensors"));
  EXPECT_EQ(weights->tensors().size(), 4U * 7 * 2);
  const auto* a = weights->find("base_model.model.model.layers.3.mlp.down_proj.lora_A.weight");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->shape, (std::vector<std::int64_t>{4, 352}));
  EXPECT_LT(events("lora", "start")[0].at("trained_parameters"), events("lora", "start")[0].at("parameters"));
}

TEST_F(AdapterProgram, GivesTheSameBitsInLessMemoryThanTheBaseHasAndAfterAKill) {
  ASSERT_EQ(adapt("whole", kLora).exit_code, 0);
  const std::string expected = adapter_of("whole");
  const auto small = adapt("small", std::string(kLora) + spill() + budget(program_alone(spill()) + 2 * MiB + kSpread));
  ASSERT_EQ(small.exit_code, 0) << small.err;
  EXPECT_TRUE(adapter_of("small") == expected);
  const Json end = events("small", "end").at(0);
  EXPECT_EQ(end.at("predicted_host_peak_bytes"), end.at("host_peak_bytes"));
  EXPECT_LT(end.at("host_peak_bytes"), 2 * MiB + kSpread) << "less than the base has bytes";
  (void)adapt("killed", std::string(kLora) + "--save-steps 2", "SLUICE_FAIL=checkpoint.rename@2=KILL");
  ASSERT_TRUE(fs::exists(path("killed/checkpoint-2/adapter_config.json")));
  EXPECT_FALSE(fs::exists(path("killed/checkpoint-2/model.safetensors")));
  EXPECT_FALSE(fs::exists(path("killed/adapter_config.json")));
  ASSERT_EQ(adapt("killed", std::string(kLora) + "--save-steps 2").exit_code, 0);
  EXPECT_TRUE(adapter_of("killed") == expected);
  EXPECT_EQ(steps("killed"), steps("whole"));
}

TEST_F(AdapterProgram, EvaluatesTrainsOnAndMergesWhatItWrote) {
  ASSERT_EQ(adapt("lora", kLora).exit_code, 0);
  const double before = held_out_loss("--model " + path("base")), after = held_out_loss("--model " + path("lora"));
  EXPECT_NE(before, after);
  EXPECT_EQ(held_out_loss("--model " + path("base") + " --adapter-path " + path("lora")), after);
  const auto merged = run("export --model " + path("lora") + " --merge-adapter --output " + path("merged"));
  ASSERT_EQ(merged.exit_code, 0) << merged.err;
  EXPECT_NEAR(held_out_loss("--model " + path("merged")), after, 1e-5);
  const auto on = adapt("on", "--adapter-path " + path("lora"));
  ASSERT_EQ(on.exit_code, 0) << on.err;
  EXPECT_LT(steps("on").at(1)[0].get<double>(), steps("lora").at(1)[0].get<double>()) << "of the same rows";
  const auto sample =
      run("sample --model " + path("lora") + " --tokenizer byte --prompt x --max-new-tokens 2 --temperature 0");
  EXPECT_TRUE(sample.exit_code == 0 || sample.err.find("tokenizer") != std::string::npos) << sample.err;
}

TEST_F(AdapterProgram, RefusesByNameWhatDoesNotGoTogether) {
  ASSERT_EQ(adapt("lora", kLora).exit_code, 0);
  expect_failure(run("export --model " + path("lora") + " --output " + path("x")), 2, "--merge-adapter");
  expect_failure(run("export --merge-adapter --model " + path("base") + " --output " + path("x")), 2, "--adapter-path");
  expect_failure(adapt("y", "--adapter-path " + path("lora") + " --lora-rank 2"), 2, "contradicts");
  expect_failure(adapt("y", "--adapter lora --lora-targets q_prod"), 2, "'q_prod'");
  expect_failure(adapt("y", "--freeze nothing"), 2, "'nothing' matches no parameter");
  fs::rename(path("base"), path("elsewhere"));
  expect_failure(run("eval --model " + path("lora") + " --data " + path("held-out.safetensors")), 2, "--adapter-path");
}

constexpr const char* kDora = "--adapter dora --lora-rank 4 --lora-alpha 16 --lora-targets all-linear ";

TEST_F(AdapterProgram, BeginsAsTheBaseWithMagnitudesAndMergesThem) {
  ASSERT_EQ(adapt("dora", std::string(kDora) + "--save-steps 3").exit_code, 0);
  ASSERT_EQ(adapt("lora", kLora).exit_code, 0);
  EXPECT_NEAR(steps("dora").at(1)[0].get<double>(), steps("lora").at(1)[0].get<double>(), 1e-5);
  EXPECT_NE(steps("dora").at(6)[0], steps("lora").at(6)[0]);
  const Json config = Json::parse(cli::read_whole(path("dora/adapter_config.json")));
  EXPECT_EQ(config["use_dora"], true);
  const auto weights = format::open_weights(path("dora/adapter_model.safetensors"));
  const auto* magnitude = weights->find("base_model.model.model.layers.3.mlp.down_proj.lora_magnitude_vector");
  ASSERT_NE(magnitude, nullptr);
  EXPECT_EQ(magnitude->shape, (std::vector<std::int64_t>{128}));
  EXPECT_EQ(weights->tensors().size(), 4U * 7 * 3);
  const std::string bits = adapter_of("dora");
  ASSERT_EQ(adapt("small", std::string(kDora) + spill() + budget(least_budget(kDora))).exit_code, 0);
  EXPECT_TRUE(adapter_of("small") == bits);
  const Json end = events("small", "end").at(0);
  EXPECT_EQ(end.at("predicted_host_peak_bytes"), end.at("host_peak_bytes"));
  const auto on = adapt("resumed", std::string(kDora) + "--resume " + path("dora/checkpoint-3"));
  ASSERT_EQ(on.exit_code, 0) << on.err;
  EXPECT_TRUE(adapter_of("resumed") == bits);
  const double after = held_out_loss("--model " + path("dora"));
  ASSERT_EQ(run("export --model " + path("dora") + " --merge-adapter --output " + path("merged")).exit_code, 0);
  EXPECT_NEAR(held_out_loss("--model " + path("merged")), after, 1e-5);
}

constexpr const char* kBaseToo =
    "--adapter lora --lora-rank 4 --lora-targets all-linear --optimizer adamw "
    "--base-optimizer lomo --base-lr 2e-3 ";

TEST_F(AdapterProgram, TrainsTheBaseByItsOwnRuleAndSavesItBesideTheAdapter) {
  const std::string base = weights_of("base");
  const auto result = adapt("both", kBaseToo);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(weights_of("base"), base);
  EXPECT_NE(weights_of("both/base"), base);
  EXPECT_TRUE(fs::exists(path("both/base/config.json")));
  EXPECT_FALSE(fs::exists(path("both/config.json")));
  const Json config = Json::parse(cli::read_whole(path("both/adapter_config.json")));
  EXPECT_EQ(config["base_model_name_or_path"], path("both/base"));
  const Json start = events("both", "start")[0];
  EXPECT_EQ(start.at("trained_parameters"), start.at("parameters"));
  const double both = held_out_loss("--model " + path("both"));
  EXPECT_EQ(held_out_loss("--model " + path("both/base") + " --adapter-path " + path("both")), both);
  EXPECT_NE(held_out_loss("--model " + path("base") + " --adapter-path " + path("both")), both);
  const auto merged = run("export --model " + path("both") + " --merge-adapter --output " + path("merged"));
  ASSERT_EQ(merged.exit_code, 0) << merged.err;
  EXPECT_NEAR(held_out_loss("--model " + path("merged")), both, 1e-5);
  fs::rename(path("both"), path("moved"));
  EXPECT_EQ(held_out_loss("--model " + path("moved")), both) << "the base in the adapter's folder goes with it";
}

TEST_F(AdapterProgram, GivesAdapterAndBaseTheSameBitsInLittleMemoryAndAfterAKill) {
  ASSERT_EQ(adapt("whole", kBaseToo).exit_code, 0);
  const std::string adapter = adapter_of("whole"), base = weights_of("whole/base");
  const auto small = adapt("small", std::string(kBaseToo) + spill() + budget(least_budget(kBaseToo)));
  ASSERT_EQ(small.exit_code, 0) << small.err;
  EXPECT_TRUE(adapter_of("small") == adapter);
  EXPECT_TRUE(weights_of("small/base") == base);
  const Json end = events("small", "end").at(0);
  EXPECT_EQ(end.at("predicted_host_peak_bytes"), end.at("host_peak_bytes"));
  (void)adapt("killed", std::string(kBaseToo) + "--save-steps 2", "SLUICE_FAIL=checkpoint.rename@2=KILL");
  ASSERT_TRUE(fs::exists(path("killed/checkpoint-2/adapter_config.json")));
  EXPECT_TRUE(fs::exists(path("killed/checkpoint-2/model.safetensors")));
  EXPECT_TRUE(fs::exists(path("killed/checkpoint-2/config.json")));
  expect_failure(adapt("killed", std::string(kLora) + "--save-steps 2"), 2, "--base-optimizer");
  ASSERT_EQ(adapt("killed", std::string(kBaseToo) + "--save-steps 2").exit_code, 0);
  EXPECT_TRUE(adapter_of("killed") == adapter);
  EXPECT_TRUE(weights_of("killed/base") == base);
  EXPECT_EQ(steps("killed"), steps("whole"));
  EXPECT_EQ(held_out_loss("--model " + path("killed/checkpoint-6")), held_out_loss("--model " + path("killed")));
}

TEST_F(AdapterProgram, KeepsABaseOf16BitsInItsFormatBesideAnAdapterOf32) {
  const std::string half = std::string(kBaseToo) + "--weights-dtype bf16 --master-dtype none ";
  ASSERT_EQ(adapt("half", half).exit_code, 0);
  const auto base = format::open_weights(path("half/base"));
  EXPECT_TRUE(std::ranges::all_of(base->tensors(), [](const auto& tensor) { return tensor.dtype == "BF16"; }));
  EXPECT_EQ(format::open_weights(path("half/adapter_model.safetensors"))->tensors()[0].dtype, "F32");
  EXPECT_EQ(Json::parse(cli::read_whole(path("half/base/config.json"))).at("torch_dtype"), "bfloat16");
  ASSERT_EQ(adapt("small", half + spill() + budget(least_budget(half))).exit_code, 0);
  EXPECT_TRUE(adapter_of("small") == adapter_of("half"));
  EXPECT_TRUE(weights_of("small/base") == weights_of("half/base"));
}

TEST_F(AdapterProgram, KeepsFrozenPartsOfAnAdapterInItsFile) {
  ASSERT_EQ(adapt("part", std::string(kLora) + "--freeze '*lora_A*'").exit_code, 0);
  const auto weights = format::open_weights(path("part/adapter_model.safetensors"));
  EXPECT_EQ(weights->tensors().size(), 4U * 7 * 2);
  EXPECT_GT(held_out_loss("--model " + path("part")), 0);
}

TEST_F(AdapterProgram, RefusesARuleForTheBaseThatHasNothingToDo) {
  expect_failure(adapt("x", "--base-optimizer lomo"), 2, "without an adapter");
  expect_failure(adapt("x", std::string(kLora) + "--base-lr 1e-3"), 2, "--base-optimizer");
  expect_failure(adapt("x", std::string(kLora) + "--base-optimizer nolo"), 2, "'nolo'");
  expect_failure(adapt("x", std::string(kBaseToo) + "--update backward --clip-mode global"), 2, "--update backward");
}

TEST_F(AdapterProgram, TrainsAroundFrozenParameters) {
  const auto result = adapt("part", "--freeze '*embed_tokens*,*.layers.0.*,*.q_proj.*'");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto base = format::open_weights(path("base")), part = format::open_weights(path("part"));
  int num_frozen = 0;
  for (const format::TensorInfo& tensor : base->tensors()) {
    std::vector<float> before(static_cast<std::size_t>(tensor.num_elements())), after(before.size());
    base->read(tensor.name, 0, before);
    part->read(tensor.name, 0, after);
    const bool frozen = tensor.name.find("embed") != std::string::npos ||
                        tensor.name.find(".layers.0.") != std::string::npos ||
                        tensor.name.find("q_proj") != std::string::npos;
    num_frozen += frozen;
    EXPECT_EQ(before == after, frozen) << tensor.name;
  }
  EXPECT_EQ(num_frozen, 1 + 9 + 3);
}

constexpr const char* kQlora = "--adapter qlora --lora-rank 4 --lora-alpha 16 --lora-targets all-linear ";
constexpr std::int64_t kLinearElements = 4 * (2 * 128 * 128 + 2 * 64 * 128 + 3 * 352 * 128);

TEST_F(AdapterProgram, GivesTheSameBitsOnABaseInNf4InTheLeastBudgetAndAfterAKill) {
  ASSERT_EQ(adapt("whole", kQlora).exit_code, 0);
  ASSERT_EQ(adapt("lora", kLora).exit_code, 0);
  EXPECT_NE(steps("whole").at(1)[0], steps("lora").at(1)[0]);
  for (const int step : {1, 6})
    EXPECT_NEAR(steps("whole").at(step)[0].get<double>(), steps("lora").at(step)[0].get<double>(), 0.02) << step;
  EXPECT_EQ(format::open_weights(path("whole/adapter_model.safetensors"))->tensors().size(), 4U * 7 * 2);
  const std::string expected = adapter_of("whole");
  const auto at_least = [&](const std::string& output, const char* flags) {
    const auto result = adapt(output, flags + spill() + budget(least_budget(flags)));
    ASSERT_EQ(result.exit_code, 0) << result.err;
  };
  at_least("small", kQlora);
  EXPECT_TRUE(adapter_of("small") == expected);
  at_least("small-lora", kLora);
  const Json end = events("small", "end").at(0), of_lora = events("small-lora", "end").at(0);
  for (const char* figure : {"host_peak_bytes", "disk_peak_bytes"})
    EXPECT_EQ(end.at("predicted_" + std::string(figure)), end.at(figure)) << figure;
  const Bytes saved = of_lora.at("disk_peak_bytes").get<Bytes>() - end.at("disk_peak_bytes").get<Bytes>();
  EXPECT_GT(saved, kLinearElements) << "3.5 bytes of each, less what one of them may hold in memory";
  (void)adapt("killed", std::string(kQlora) + "--save-steps 2", "SLUICE_FAIL=checkpoint.rename@2=KILL");
  ASSERT_EQ(adapt("killed", std::string(kQlora) + "--save-steps 2").exit_code, 0);
  EXPECT_TRUE(adapter_of("killed") == expected);
}

// What the run computes with is what packing and unpacking makes of the base's file.
TEST_F(AdapterProgram, ComputesWithTheNumbersOfNf4InLinearMapsAlone) {
  ASSERT_EQ(adapt("lora", kLora).exit_code, 0);
  const auto base = format::open_weights(path("base/model.safetensors"));
  std::vector<format::TensorInfo> tensors(base->tensors().begin(), base->tensors().end());
  fs::create_directories(path("rounded"));
  fs::copy(path("base/config.json"), path("rounded/config.json"));
  format::SafetensorsWriter writer(path("rounded/model.safetensors"), tensors);
  for (const format::TensorInfo& tensor : tensors) {
    std::vector<float> values(static_cast<std::size_t>(tensor.num_elements()));
    base->read(tensor.name, 0, values);
    if (tensor.name.find("_proj") != std::string::npos) {
      Nf4Mean mean;
      mean.add(values);
      std::vector<std::byte> records(static_cast<std::size_t>(nf4_bytes(tensor.num_elements())));
      pack_nf4(values, mean.value(), records);
      unpack_nf4(records.data(), values);
    }
    writer.append(tensor.name, std::as_bytes(std::span(values)));
  }
  writer.publish();
  const std::string adapter = " --adapter-path " + path("lora");
  const double rounded = held_out_loss("--model " + path("rounded") + adapter);
  EXPECT_EQ(held_out_loss("--model " + path("base") + adapter + " --base-dtype nf4"), rounded);
  EXPECT_NE(held_out_loss("--model " + path("base") + adapter), rounded);
}

TEST_F(AdapterProgram, RefusesNf4WhereTheBaseIsTrainedOrMeasured) {
  expect_failure(train("x", "--base-dtype nf4"), 2, "without an adapter");
  expect_failure(adapt("x", std::string(kLora) + "--base-optimizer lomo --base-dtype nf4"), 2, "--base-optimizer");
  ASSERT_EQ(adapt("dora", std::string(kDora) + "--max-steps 1").exit_code, 0);
  expect_failure(adapt("x", "--adapter-path " + path("dora") + " --base-dtype nf4"), 2, "DoRA");
}

}  // namespace
}  // namespace sluice::train
