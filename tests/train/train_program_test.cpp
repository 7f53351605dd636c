// What a training run leaves behind: records, files, the same bits at every budget, and a forecast that holds.
#include <filesystem>
#include <regex>

#include "format/model_config.h"
#include "format/safetensors.h"
#include "format/weight_source.h"
#include "train/training_program.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> keys_of(const Json& line) {
  std::vector<std::string> keys;
  for (const auto& item : line.items()) keys.push_back(item.key());
  return keys;
}

TEST_F(TrainingProgram, WritesMetricsWithEveryFieldOfTheFormat) {
  const auto result = train("out", "--eval-data " + path("held-out.safetensors") +
                                       " --eval-steps 2 --save-steps 3 --spill-dir " + path("spill"));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "");
  const std::vector<Json> lines = metrics("out");
  EXPECT_EQ(lines.front().at("event"), "start");
  EXPECT_EQ(lines.back().at("event"), "end");
  for (const char* key : {"version", "model", "parameters", "machine", "config", "plan"})
    EXPECT_TRUE(lines.front().contains(key)) << key;
  EXPECT_EQ(lines.front().at("parameters"), 803968);
  const std::vector<std::string> expected = {"event",
                                             "step",
                                             "loss",
                                             "grad_norm",
                                             "lr",
                                             "tokens",
                                             "target_tokens",
                                             "step_seconds",
                                             "tokens_per_second",
                                             "host_peak_bytes",
                                             "device_peak_bytes",
                                             "rss_bytes",
                                             "disk_read_bytes",
                                             "disk_write_bytes",
                                             "compute_seconds",
                                             "stall_seconds",
                                             "cpu_seconds",
                                             "minor_faults",
                                             "skipped"};
  const std::vector<Json> all_steps = events("out", "step");
  ASSERT_EQ(all_steps.size(), 6U);
  for (std::size_t i = 0; i < all_steps.size(); ++i) {
    EXPECT_EQ(keys_of(all_steps[i]), expected);
    EXPECT_EQ(all_steps[i].at("step"), i + 1);
    EXPECT_EQ(all_steps[i].at("tokens"), 128);
    EXPECT_EQ(all_steps[i].at("target_tokens"), 124);
    EXPECT_EQ(all_steps[i].at("skipped"), false);
    EXPECT_GT(all_steps[i].at("rss_bytes"), all_steps[i].at("host_peak_bytes"));
  }
  EXPECT_EQ(all_steps[0].at("lr"), 1e-3);
  EXPECT_LT(all_steps[5].at("lr"), 1e-4) << "cosine";
  ASSERT_EQ(events("out", "eval").size(), 4U) << "before, and after steps 2, 4 and 6";
  EXPECT_EQ(events("out", "save").size(), 2U);
  for (const char* key : {"predicted_host_peak_bytes", "host_peak_bytes", "predicted_rss_bytes", "rss_bytes",
                          "predicted_disk_peak_bytes", "disk_peak_bytes", "predicted_step_seconds", "step_seconds"})
    EXPECT_TRUE(lines.back().contains(key)) << key;
  EXPECT_EQ(lines.back().at("steps"), 6);
  const Json& forecasts = lines.back().at("forecasts");
  ASSERT_EQ(forecasts.size(), 3U);
  EXPECT_EQ(forecasts[0].at("step_seconds"), lines.back().at("predicted_step_seconds"));
  EXPECT_EQ(forecasts[2].at("step_seconds"), lines.back().at("step_seconds"));
  for (const Json& row : forecasts) EXPECT_GT(row.at("compute_seconds"), 0) << row;
}

TEST_F(TrainingProgram, MeasuresAMachineThatNobodyKnowsOnce) {
  const std::string unknown = "SLUICE_MACHINE=" + path("unknown/machine.json");
  const std::string dry = train_arguments("out", "--dry-run");
  const auto first = run(dry, unknown);
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_NE(first.err.find("measuring this machine"), std::string::npos) << first.err;
  ASSERT_EQ(std::distance(fs::directory_iterator(path("unknown")), fs::directory_iterator()), 1);
  const fs::path kept = fs::directory_iterator(path("unknown"))->path();
  EXPECT_TRUE(kept.filename().string().starts_with("quick-")) << kept;
  EXPECT_GT(Json::parse(cli::read_whole(kept)).at("compute").at("products").size(), 0U);
  const auto second = run(dry, unknown);
  ASSERT_EQ(second.exit_code, 0) << second.err;
  EXPECT_EQ(second.err.find("measuring this machine"), std::string::npos) << second.err;
  EXPECT_NE(second.err.find("sluice doctor"), std::string::npos) << "a hint";
}

TEST_F(TrainingProgram, LeavesAModelFolderThatEvaluatesToTheHeldOutLossOfTheRun) {
  const auto result = train("out", "--eval-data " + path("held-out.safetensors"));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const fs::path out = path("out");
  for (const char* name :
       {"config.json", "generation_config.json", "model.safetensors", "metrics.jsonl", "trace.json", "run.yaml"})
    EXPECT_TRUE(fs::exists(out / name)) << name;
  const Json config = Json::parse(cli::read_whole(out / "config.json"));
  EXPECT_EQ(config.at("a_key_of_the_user"), "kept");
  EXPECT_EQ(config.at("architectures")[0], "LlamaForCausalLM");
  EXPECT_TRUE(Json::parse(cli::read_whole(out / "trace.json")).contains("traceEvents"));
  EXPECT_EQ(format::read_model_config(out).num_layers, 4);
  const format::SafetensorsFile weights(out / "model.safetensors");
  EXPECT_EQ(weights.tensors().size(), 2U + 4U * 9U);
  EXPECT_NE(weights.find("model.embed_tokens.weight"), nullptr);
  EXPECT_EQ(weights.find("lm_head.weight"), nullptr) << "tied";

  const auto evaluated = run("eval --model " + out.string() + " --data " + path("held-out.safetensors") +
                             " --micro-batch-size 2 --threads 2 --json " + path("eval.json"));
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.err;
  const Json json = Json::parse(cli::read_whole(path("eval.json")));
  const std::vector<Json> held_out = events("out", "eval");
  ASSERT_EQ(held_out.size(), 2U);
  EXPECT_EQ(json.at("loss"), held_out[1].at("loss"));
  EXPECT_EQ(json.at("target_tokens"), 5 * 31);
  EXPECT_NE(held_out[0].at("loss"), held_out[1].at("loss"));
}

TEST_F(TrainingProgram, StopsAfterThePlanOnADryRun) {
  const auto result = train("out", "--dry-run");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.err.find("803968 parameters"), std::string::npos) << result.err;
  EXPECT_FALSE(fs::exists(path("out")));
}

TEST_F(TrainingProgram, HasTheSameBitsInBothSpellingsOfItsSettings) {
  const std::string expected = weights_after("flags");
  ASSERT_TRUE(fs::exists(path("flags/run.yaml")));
  const auto result = run("train --config " + path("flags/run.yaml") + " --output " + path("file"));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(weights_of("file") == expected);
  EXPECT_EQ(steps("file"), steps("flags"));
}

// 70001 x 128 floats are more than one piece of the vocabulary.
TEST_F(TrainingProgram, KeepsATableThatIsSeveralChunksAsOneTensorInFiles) {
  Json config = tiny_config();
  config["vocab_size"] = 70001;
  config["num_hidden_layers"] = 1;
  (void)scratch_.write("model/config.json", config.dump(1));
  const std::string steps = "--max-steps 2 --save-steps 1 --keep 3 --eval-data " + path("held-out.safetensors");
  const std::string expected = weights_after("whole", steps);
  const format::SafetensorsFile weights(fs::path(path("whole")) / "model.safetensors");
  ASSERT_NE(weights.find("model.embed_tokens.weight"), nullptr);
  EXPECT_EQ(weights.find("model.embed_tokens.weight")->shape, (std::vector<std::int64_t>{70001, 128}));

  fs::create_directories(path("resumed"));
  fs::copy(path("whole/checkpoint-1"), path("resumed/checkpoint-1"), fs::copy_options::recursive);
  EXPECT_TRUE(weights_after("resumed", steps) == expected);
  const auto evaluated = run("eval --model " + path("whole") + " --data " + path("held-out.safetensors") +
                             " --micro-batch-size 2 --threads 2 --json " + path("eval.json"));
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.err;
  EXPECT_EQ(Json::parse(cli::read_whole(path("eval.json"))).at("loss"), events("whole", "eval").back().at("loss"));
  const auto exported = run("export --model " + path("whole") + " --output " + path("exported"));
  EXPECT_EQ(exported.exit_code, 0) << exported.err;
  EXPECT_TRUE(weights_of("exported") == expected);
}

using Budgets = TrainingProgram;

TEST_F(Budgets, ChangeNoBitDownToTheFloorAndBelowItTheShortfallIsNamed) {
  const std::string expected = weights_after("plenty");
  const Bytes floor = smallest_budget();
  expect_failure(train("small", spill() + budget(floor - MiB)), 3, "needs at least");
  EXPECT_FALSE(fs::exists(path("small/model.safetensors")));

  std::vector<Bytes> read;
  for (const Bytes bytes : {floor + kSpread, floor + 3 * MiB, floor + 64 * MiB}) {
    const std::string output = "at" + std::to_string(bytes);
    EXPECT_TRUE(weights_after(output, spill() + budget(bytes)) == expected) << bytes;
    EXPECT_EQ(steps(output), steps("plenty")) << bytes;
    const Json end = metrics(output).back();
    EXPECT_EQ(end.at("host_peak_bytes"), end.at("predicted_host_peak_bytes"));
    EXPECT_LE(end.at("disk_peak_bytes"), end.at("predicted_disk_peak_bytes"));
    EXPECT_LE(end.at("rss_bytes"), bytes);
    read.push_back(end.at("disk_read_bytes"));
  }
  EXPECT_GT(read.front(), 0);
  EXPECT_EQ(read.back(), 0) << "everything fits";
}

TEST_F(Budgets, ChangeNoBitWithStatesStripedOverSeveralFolders) {
  const std::string expected = weights_after("plenty");
  const std::string folders = "--spill-dir " + path("a") + "," + path("b") + "," + path("c") + " ";
  const Bytes small = smallest_budget() + kSpread;
  EXPECT_TRUE(weights_after("small", folders + "--save-steps 4 " + budget(small)) == expected);
  EXPECT_GT(metrics("small").back().at("disk_read_bytes"), 0);
  // A run that was killed goes on from its checkpoint whatever the folders were.
  EXPECT_NE(train("killed", folders + "--save-steps 2 " + budget(small), "SLUICE_FAIL=disk.write@40=KILL").exit_code,
            0);
  EXPECT_TRUE(weights_after("killed", spill() + budget(small)) == expected);
  expect_failure(train("bad", "--spill-dir " + path("a") + ",/proc/nowhere " + budget(small)), 4, "/proc/nowhere");
  expect_failure(train("bad", "--spill-dir " + path("a") + "," + path("a/.") + " " + budget(small)), 2, "named twice");
}

TEST_F(Budgets, WithoutADiskAreRefusedWithTheHintToGiveOne) {
  expect_failure(train("small", budget(program_alone() + 2 * MiB)), 3, "--spill-dir");
}

TEST_F(Budgets, OfTheDiskAreRefusedWithTheShortfall) {
  expect_failure(train("small", spill() + "--disk-memory 1MiB " + budget(smallest_budget() + MiB)), 3, "disk");
}

TEST_F(Budgets, ObeyALimitOfDiskWearOrNameTheLeastPossible) {
  const Bytes small = smallest_budget() + kSpread;
  EXPECT_EQ(train("free", spill() + budget(small)).exit_code, 0);
  const auto free = metrics("free").front().at("plan").at("disk_write_bytes_per_day").get<Bytes>();
  ASSERT_GT(free, 0);
  const auto refused = train("limited", spill() + "--disk-write-limit 1/day " + budget(small));
  expect_failure(refused, 3, "--disk-write-limit");
  const std::size_t number = refused.err.find("a day (");
  ASSERT_NE(number, std::string::npos) << refused.err;
  const Bytes least = std::stoll(refused.err.substr(number + 7));
  EXPECT_LE(least, free);
  EXPECT_EQ(
      train("limited", spill() + "--disk-write-limit " + std::to_string(least + least / 50) + "/day " + budget(small))
          .exit_code,
      0);
}

TEST_F(Budgets, ChangeNoBitForAnyRuleActivationsOrUpdateOrder) {
  const Bytes small = smallest_budget() + kSpread;
  const std::string plain = weights_after("plenty");
  for (const char* order : {"--schedule horizontal", "--schedule vertical"}) {
    EXPECT_TRUE(weights_after("small", std::string(order) + " --resume never " + spill() + budget(small)) == plain);
    const int group = metrics("small").front().at("plan").at("micro_batch_group");
    EXPECT_TRUE(group == 1 || std::string(order) == "--schedule vertical") << group;
  }
  for (const char* variant :
       {"--optimizer sgd --momentum 0.9", "--activations recompute", "--activations keep", "--activations spill",
        "--optimizer lomo --max-grad-norm 0", "--max-grad-norm 0 --update backward"}) {
    SCOPED_TRACE(variant);
    const std::string expected = weights_after("plenty", std::string(variant) + " --resume never");
    const auto result = train("small", std::string(variant) + " --resume never " + spill() + budget(small));
    if (result.exit_code == 3) continue;  // kept activations need more
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(weights_of("small") == expected);
  }
}

}  // namespace
}  // namespace sluice::train
