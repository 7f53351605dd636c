// States in every format and rules of several passes, as a user runs them: the same losses in memory and on a disk,
// narrow bytes where they were asked for, and runs that go on from a checkpoint in another budget.
#include "format/safetensors.h"
#include "train/training_program.h"

namespace sluice::train {
namespace {

const std::vector<std::string>& formats() {
  static const std::vector<std::string> kFormats = {"",
                                                    "--moments-dtype bf16",
                                                    "--optimizer adamw-8bit",
                                                    "--optimizer lamb",
                                                    "--weights-dtype bf16",
                                                    "--weights-dtype bf16 --master-dtype split",
                                                    "--weights-dtype bf16 --master-dtype none",
                                                    "--weights-dtype fp16 --moments-dtype bf16",
                                                    "--optimizer muon",
                                                    "--optimizer muon --weights-dtype bf16 --master-dtype split",
                                                    "--compute-dtype bf16",
                                                    "--compute-dtype bf16 --weights-dtype bf16 --master-dtype split",
                                                    "--compute-dtype fp16 --weights-dtype fp16 --loss-scale dynamic",
                                                    "--weights-dtype fp8",
                                                    "--weights-dtype fp8 --compute-dtype bf16 --optimizer lamb"};
  return kFormats;
}

TEST_F(TrainingProgram, GivesTheSameBitsInEveryBudgetForEveryFormatOfStates) {
  std::map<std::string, Bytes> stored;
  for (const std::string& format : formats()) {
    SCOPED_TRACE(format);
    const std::string decay = " --weight-decay 0.1 ";
    const std::string expected = weights_after("whole", format + decay + "--resume never");
    const std::string small = budget(smallest_budget(format) + kSpread) + spill() + decay + "--resume never ";
    EXPECT_TRUE(weights_after("spilled", format + " " + small) == expected);
    EXPECT_EQ(steps("spilled"), steps("whole"));
    stored[format] = events("spilled", "end").back().at("disk_peak_bytes");
  }
  EXPECT_LT(stored["--moments-dtype bf16"], stored[""]);
  EXPECT_LT(stored["--optimizer adamw-8bit"], stored["--moments-dtype bf16"]);
  EXPECT_LT(stored["--weights-dtype bf16 --master-dtype none"], stored[""]);
  EXPECT_LT(stored["--weights-dtype bf16 --master-dtype split"], stored["--weights-dtype bf16"]);
  EXPECT_LT(stored["--weights-dtype fp8"], stored["--weights-dtype bf16"]);
}

TEST_F(TrainingProgram, ResumesEveryFormatOfStatesToTheSameBitsAtAnotherBudget) {
  for (const std::string& format : formats()) {
    SCOPED_TRACE(format);
    const std::string expected = weights_after("whole", format + " --resume never");
    std::filesystem::remove_all(path("stopped"));
    ASSERT_EQ(train("stopped", format + " --max-steps 6 --max-time 0.000001").exit_code, 0);
    ASSERT_EQ(train("stopped", format + " --max-time 0.000001 " + spill() + budget(smallest_budget(format) + kSpread))
                  .exit_code,
              0);
    EXPECT_TRUE(weights_after("stopped", format) == expected);
    EXPECT_EQ(steps("stopped"), steps("whole"));
  }
}

TEST_F(TrainingProgram, SavesStatesInTheirOwnFormat) {
  const auto dtypes = [&](const std::string& format) {
    weights_after("out", format + " --max-steps 1 --save-steps 1 --resume never");
    const format::SafetensorsFile file(path("out/checkpoint-1/optimizer.safetensors"));
    std::map<std::string, std::string> found;
    for (const char* name : {"exp_avg/model.embed_tokens.weight", "exp_avg/model.embed_tokens.weight.absmax",
                             "exp_avg_sq/model.norm.weight"}) {
      const format::StoredTensor* tensor = file.find(name);
      if (tensor != nullptr) found[name] = tensor->dtype + " " + format::format_shape(tensor->shape);
    }
    return found;
  };
  using Found = std::map<std::string, std::string>;
  EXPECT_EQ(dtypes(""), (Found{{"exp_avg/model.embed_tokens.weight", "F32 [512, 128]"},
                               {"exp_avg_sq/model.norm.weight", "F32 [128]"}}));
  EXPECT_EQ(dtypes("--moments-dtype bf16"), (Found{{"exp_avg/model.embed_tokens.weight", "BF16 [512, 128]"},
                                                   {"exp_avg_sq/model.norm.weight", "BF16 [128]"}}));
  EXPECT_EQ(dtypes("--optimizer adamw-8bit"), (Found{{"exp_avg/model.embed_tokens.weight", "U8 [512, 128]"},
                                                     {"exp_avg/model.embed_tokens.weight.absmax", "F32 [256]"},
                                                     {"exp_avg_sq/model.norm.weight", "F32 [128]"}}));
}

TEST_F(TrainingProgram, SavesWeightsInTheirOwnFormatAndTakesThemUpInIt) {
  const auto dtype = [&](const std::string& output) {
    return format::SafetensorsFile(path(output + "/model.safetensors")).find("model.norm.weight")->dtype;
  };
  weights_after("wide", "--max-steps 1");
  EXPECT_EQ(dtype("wide"), "F32");
  weights_after("half", "--max-steps 1 --weights-dtype fp16");
  EXPECT_EQ(dtype("half"), "F16");
  weights_after("quarter", "--max-steps 1 --weights-dtype fp8");
  EXPECT_EQ(dtype("quarter"), "F32");  // a vector
  EXPECT_EQ(format::SafetensorsFile(path("quarter/model.safetensors")).find("model.embed_tokens.weight")->dtype,
            "BF16");
  const std::string saved = weights_after("narrow", "--max-steps 2 --weights-dtype bf16 --master-dtype split");
  EXPECT_EQ(dtype("narrow"), "BF16");
  const Json config = Json::parse(cli::read_whole(scratch_.file("narrow") / "config.json"));
  EXPECT_EQ(config.at("torch_dtype"), "bfloat16");
  // A model of 16 bits stays one, unless told otherwise.
  const auto again = [&](const std::string& output, const std::string& more) {
    const auto result = run("train --model " + path("narrow") + " --data " + path("data.safetensors") + " --output " +
                            path(output) + " --seq-len 32 --max-steps 1 --lr 0 " + more);
    EXPECT_EQ(result.exit_code, 0) << result.err;
  };
  again("as-stored", "");
  EXPECT_EQ(dtype("as-stored"), "BF16");
  EXPECT_TRUE(weights_of("as-stored") == saved);
  again("widened", "--weights-dtype fp32");
  EXPECT_EQ(dtype("widened"), "F32");
}

// Split weights and their lower halves are fp32 numbers taken apart: what computes is rounded, what is updated is not.
TEST_F(TrainingProgram, LosesNoUpdateOfAMaster) {
  const auto losses = [&](const std::string& output, const std::string& flags) {
    weights_after(output, "--lr 1e-5 --weights-dtype bf16 " + flags);
    std::vector<double> found;
    for (const Json& line : events(output, "step")) found.push_back(line.at("loss"));
    return found;
  };
  const std::vector<double> whole = losses("whole", ""), split = losses("split", "--master-dtype split");
  ASSERT_EQ(whole.size(), split.size());
  for (std::size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(whole[i], split[i], 1e-5 * whole[i]) << i;
}

TEST_F(TrainingProgram, RefusesToResumeStatesOfAnotherFormat) {
  ASSERT_EQ(train("out", "--max-steps 1 --save-steps 1").exit_code, 0);
  expect_failure(train("out", "--moments-dtype bf16"), 4, "expected BF16 [512, 128], got F32 [512, 128]");
}

TEST_F(TrainingProgram, RefusesFormatsThatARuleDoesNotHave) {
  expect_failure(train("out", "--optimizer lomo --moments-dtype bf16 --max-grad-norm 0"), 2, "lomo");
  expect_failure(train("out", "--optimizer adamw-8bit --moments-dtype bf16"), 2, "adamw-8bit");
  expect_failure(train("out", "--moments-dtype fp16"), 2, "--moments-dtype fp16");
}

// 47 million parameters: two bytes of each are more than what lanes and staging take.
TEST_F(TrainingProgram, WaitsPackedInRamWhereMemoryIsShortAndThereIsNoDisk) {
  Json config = tiny_config();
  config.update({{"hidden_size", 512}, {"intermediate_size", 1408}, {"num_hidden_layers", 16}});
  scratch_.write("model/config.json", config.dump(1));
  const std::string narrow =
      "--optimizer lomo --max-grad-norm 0 --weights-dtype bf16 --master-dtype none --max-steps 2 ";
  const std::string expected = weights_after("whole", narrow);
  const Json whole = events("whole", "end").at(0);
  EXPECT_EQ(whole.at("packed_peak_bytes"), 0);
  const auto least = [&](const std::string& flags) {
    const auto refused = train("plan", flags + "--dry-run " + budget(program_alone(flags) + 2 * MiB + kSpread));
    std::smatch found;
    EXPECT_TRUE(std::regex_search(refused.err, found, std::regex(R"(\(([0-9]+) bytes)"))) << refused.err;
    return found.empty() ? 0 : std::stoll(found[1]);
  };
  const std::string wide = "--optimizer lomo --max-grad-norm 0 --max-steps 2 ";
  const Bytes of_narrow = least(narrow), of_wide = least(wide);
  EXPECT_LT(of_narrow, of_wide - 16 * MiB);
  EXPECT_TRUE(weights_after("packed", narrow + budget(of_narrow + kSpread)) == expected);
  EXPECT_EQ(steps("packed"), steps("whole"));
  const Json end = events("packed", "end").at(0);
  EXPECT_GT(end.at("packed_peak_bytes"), 80 * MiB);
  EXPECT_EQ(end.at("predicted_packed_peak_bytes"), end.at("packed_peak_bytes"));
  EXPECT_EQ(end.at("predicted_host_peak_bytes"), end.at("host_peak_bytes"));
  EXPECT_LE(end.at("rss_bytes"), of_narrow + kSpread);
  EXPECT_EQ(end.at("disk_write_bytes"), 0);
}

}  // namespace
}  // namespace sluice::train
