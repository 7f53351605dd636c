// SmolLM2-135M with its real weights: the same bits at every budget, and PyTorch's losses and gradient norms
// (tests/data/train, tools/oracles/smollm2_fp64_norms.py, check_choice_scores.py). Needs SLUICE_MODEL_GGUF
// (tools/fetch_model.sh).
#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <regex>
#include <sstream>

#include "format/gguf_model.h"
#include "format/model_config.h"
#include "format/model_dir.h"
#include "format/weight_source.h"
#include "train/training_program.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

class RealModel : public TrainingProgram {
 protected:
  void SetUp() override {
    const char* given = std::getenv("SLUICE_MODEL_GGUF");
    if (given == nullptr || *given == '\0')
      GTEST_SKIP() << "SLUICE_MODEL_GGUF does not name the SmolLM2-135M GGUF; tools/fetch_model.sh fetches it";
    gguf_ = given;
    ASSERT_TRUE(fs::exists(gguf_)) << gguf_;
  }

  /// A Hugging Face folder with the first `num_layers` layers of the model.
  std::string cut(std::int64_t num_layers) {
    const fs::path folder = path("cut");
    fs::create_directories(folder);
    format::ModelConfig config = format::read_model_config(gguf_);
    config.num_layers = num_layers;
    config.json = format::make_config_json(config);
    format::write_model_files(folder, config, gguf_, "F32");
    const auto source = format::open_weights(gguf_);
    std::vector<format::TensorInfo> kept;
    for (const format::TensorInfo& tensor : source->tensors()) {
      const std::string prefix = "model.layers.";
      const bool in_layer = tensor.name.starts_with(prefix);
      if (!in_layer || std::stoll(tensor.name.substr(prefix.size())) < num_layers)
        kept.push_back({tensor.name, "F32", tensor.shape});
    }
    format::SafetensorsWriter writer(folder / "model.safetensors", kept);
    std::vector<float> piece(1 << 20);
    for (const format::TensorInfo& tensor : kept) {
      for (std::int64_t first = 0; first < tensor.num_elements(); first += static_cast<std::int64_t>(piece.size())) {
        const auto count = std::min(static_cast<std::int64_t>(piece.size()), tensor.num_elements() - first);
        const std::span part(piece.data(), static_cast<std::size_t>(count));
        source->read(tensor.name, first, part);
        writer.append(tensor.name, std::as_bytes(part));
      }
    }
    writer.publish();
    return folder.string();
  }

  void expect_oracle_of_pytorch(int num_steps) {
    const std::string data = std::string(SLUICE_TEST_DATA) + "/train/";
    const auto result =
        run("train --model " + gguf_.string() + " --data " + data + "smollm2_adamw.safetensors --output " +
            path("oracle") + " --micro-batch-size 4 --decay all --lr-schedule constant --no-shuffle --max-steps " +
            std::to_string(num_steps));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const Json published = Json::parse(cli::read_whole(data + "smollm2_adamw.json")).at("steps");
    const Json exact = Json::parse(cli::read_whole(data + "smollm2_fp64_norms.json")).at("steps");
    const std::vector<Json> lines = events("oracle", "step");
    ASSERT_EQ(lines.size(), static_cast<std::size_t>(num_steps));
    for (std::size_t i = 0; i < lines.size(); ++i) {
      SCOPED_TRACE("step " + std::to_string(i + 1));
      const auto expect_near = [&](const char* key, const Json& expected, double tolerance) {
        const double value = expected.at(i).at(key);
        EXPECT_NEAR(lines[i].at(key), value, tolerance * value) << key;
      };
      expect_near("loss", published, 1e-4);
      expect_near("grad_norm", exact, 1e-4);
      expect_near("grad_norm", published, 2e-4);  // its squares were summed in fp32
      EXPECT_EQ(lines[i].at("target_tokens"), published.at(i).at("target_tokens"));
    }
  }

  fs::path gguf_;
};

TEST_F(RealModel, TrainsToTheSameBitsAtEveryBudgetAndAfterAResume) {
  const std::string common = "train --model " + cut(6) + " --data " SLUICE_EXAMPLES "/data/shakespeare-train.txt" +
                             " --seq-len 128 --micro-batch-size 2 --grad-accumulation 2 --max-steps 3 --lr 1e-4" +
                             " --spill-dir " + path("spill") + " ";
  const auto train_at = [&](const std::string& output, const std::string& more) {
    return run(common + "--output " + path(output) + " " + more);
  };
  const auto refused = train_at("floor", "--dry-run --host-memory 200MiB");
  expect_failure(refused, 3, "needs at least");
  std::smatch found;
  ASSERT_TRUE(std::regex_search(refused.err, found, std::regex(R"(\(([0-9]+) bytes)"))) << refused.err;
  // What the process needs beside its arena differs a little from start to start.
  const std::string floor = "--host-memory " + std::to_string(std::stoll(found[1]) + 2 * MiB);

  ASSERT_EQ(train_at("plenty", "").exit_code, 0);
  const std::string expected = weights_of("plenty");
  const std::array<std::string, 3> budgets = {"--host-memory 1GiB", "--host-memory 512MiB", floor};
  for (const std::string& budget : budgets) {
    const auto result = train_at("small", budget + " --resume never");
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(weights_of("small") == expected) << budget;
    EXPECT_EQ(steps("small"), steps("plenty")) << budget;
    const Json end = metrics("small").back();
    EXPECT_EQ(end.at("host_peak_bytes"), end.at("predicted_host_peak_bytes")) << budget;
    fs::remove_all(path("small"));
  }
  EXPECT_EQ(train_at("stopped", floor + " --max-time 0.001").exit_code, 0);
  const auto resumed = train_at("stopped", "--host-memory 512MiB");
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_TRUE(weights_of("stopped") == expected);
  EXPECT_EQ(steps("stopped"), steps("plenty"));
}

TEST_F(RealModel, HasTheLossesAndGradientNormsOfPyTorchForTwoSteps) { expect_oracle_of_pytorch(2); }

TEST_F(RealModel, ScoresChoicesAsTransformersDoes) {
  const std::string items = std::string(SLUICE_TEST_DATA) + "/train/smollm2_choices.jsonl";
  const auto result = run("eval --model " + gguf_.string() + " --tasks " + items + " --predictions " + path("said"));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  std::istringstream expected(cli::read_whole(items)), said(cli::read_whole(path("said")));
  int num_items = 0;
  for (std::string line, other; std::getline(expected, line); ++num_items) {
    ASSERT_TRUE(std::getline(said, other));
    const Json theirs = Json::parse(line), ours = Json::parse(other);
    EXPECT_EQ(ours.at("num_tokens"), theirs.at("num_tokens")) << line;
    for (std::size_t choice = 0; choice < theirs.at("choices").size(); ++choice) {
      const double sum = theirs.at("log_likelihoods").at(choice);
      EXPECT_NEAR(ours.at("log_likelihoods").at(choice).get<double>(), sum, 1e-4 * std::abs(sum)) << line;
    }
  }
  EXPECT_GT(num_items, 3);
}

using SlowRealModel = RealModel;

TEST_F(SlowRealModel, HasTheLossesAndGradientNormsOfPyTorchForSixSteps) { expect_oracle_of_pytorch(6); }

}  // namespace
}  // namespace sluice::train
