// Adapters and frozen parameters as a user has them: trained, resumed, evaluated, trained on, merged.
#include <filesystem>
#include <span>

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
  ASSERT_EQ(adapt("small", std::string(kLora) + spill() + budget(program_alone(spill()) + 2 * MiB)).exit_code, 0);
  EXPECT_TRUE(adapter_of("small") == expected);
  const Json end = events("small", "end").at(0);
  EXPECT_EQ(end.at("predicted_host_peak_bytes"), end.at("host_peak_bytes"));
  EXPECT_LT(end.at("host_peak_bytes"), 2 * MiB) << "less than the base has bytes";
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

}  // namespace
}  // namespace sluice::train
