// A tiny GPT-2 through the whole program: the same bits at the least budget, files in the names and layout of
// transformers, and a clear word where there are no positions.
#include <cstdlib>
#include <filesystem>

#include "format/model_config.h"
#include "format/model_dir.h"
#include "format/weight_source.h"
#include "train/training_program.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

class Gpt2Program : public TrainingProgram {
 protected:
  void SetUp() override {
    TrainingProgram::SetUp();
    const Json config = {{"architectures", {"GPT2LMHeadModel"}},
                         {"model_type", "gpt2"},
                         {"vocab_size", kVocabulary},
                         {"n_positions", 48},
                         {"n_embd", 96},
                         {"n_layer", 3},
                         {"n_head", 4},
                         {"n_inner", nullptr},
                         {"activation_function", "gelu_new"},
                         {"resid_pdrop", 0.1},
                         {"initializer_range", 0.05},
                         {"bos_token_id", 1},
                         {"eos_token_id", 1},
                         {"a_key_of_the_user", "kept"}};
    scratch_.write("model/config.json", config.dump(1));
  }

  // The weights of `from` as the first published files had them: no prefix, and a mask among the tensors.
  void write_old_spelling(const std::string& from, const std::string& to) {
    fs::create_directories(path(to));
    fs::copy_file(fs::path(path(from)) / "config.json", fs::path(path(to)) / "config.json");
    const auto source = format::open_weights(path(from));
    const std::string prefix = "transformer.";
    std::vector<format::TensorInfo> tensors;
    for (const format::TensorInfo& tensor : source->tensors())
      tensors.push_back({tensor.name.substr(prefix.size()), tensor.dtype, tensor.shape});
    tensors.push_back({"h.0.attn.bias", "F32", {1, 1, 2, 2}});
    format::ModelWeightsWriter writer(path(to), tensors);
    for (const format::TensorInfo& tensor : tensors) {
      std::vector<float> values(static_cast<std::size_t>(tensor.num_elements()));
      if (tensor.name != "h.0.attn.bias") source->read(prefix + tensor.name, 0, values);
      writer.append(tensor.name, std::as_bytes(std::span(values)));
    }
    writer.publish();
  }
};

TEST_F(Gpt2Program, TrainsToTheSameBitsAtTheLeastBudget) {
  const std::string expected = weights_after("plenty", "--eval-data " + path("held-out.safetensors"));
  const Bytes least = smallest_budget();
  EXPECT_EQ(weights_after("least", spill() + budget(least + kSpread)), expected);
  EXPECT_EQ(weights_after("recompute", "--activations recompute"), expected);
  EXPECT_EQ(steps("least"), steps("plenty"));
  const Json end = events("least", "end").at(0);
  EXPECT_EQ(end.at("host_peak_bytes"), end.at("predicted_host_peak_bytes"));
  const std::vector<Json> evaluations = events("plenty", "eval");
  EXPECT_LT(evaluations.back().at("loss"), evaluations.front().at("loss"));
}

TEST_F(Gpt2Program, SaysOnceThatDropoutIsNotApplied) {
  const auto result = train("out");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::size_t first = result.err.find("dropout");
  ASSERT_NE(first, std::string::npos) << result.err;
  EXPECT_EQ(result.err.find("dropout", first + 1), std::string::npos) << result.err;
}

TEST_F(Gpt2Program, WritesTheNamesAndLayoutOfTransformers) {
  weights_after("out");
  const auto weights = format::open_weights(path("out"));
  EXPECT_EQ(weights->tensors().size(), 4U + 3U * 12U);
  const auto shape = [&](const std::string& name) {
    const format::TensorInfo* const tensor = weights->find("transformer." + name);
    return tensor != nullptr ? tensor->shape : std::vector<std::int64_t>();
  };
  EXPECT_EQ(shape("wte.weight"), (std::vector<std::int64_t>{kVocabulary, 96}));
  EXPECT_EQ(shape("wpe.weight"), (std::vector<std::int64_t>{48, 96}));
  EXPECT_EQ(shape("h.0.attn.c_attn.weight"), (std::vector<std::int64_t>{96, 288}));
  EXPECT_EQ(shape("h.2.attn.c_proj.bias"), std::vector<std::int64_t>{96});
  EXPECT_EQ(shape("h.1.mlp.c_proj.weight"), (std::vector<std::int64_t>{384, 96}));
  EXPECT_EQ(shape("ln_f.bias"), std::vector<std::int64_t>{96});
  Json config = Json::parse(cli::read_whole(scratch_.file("out") / "config.json"));
  EXPECT_EQ(config.at("a_key_of_the_user"), "kept");
  EXPECT_EQ(config.at("n_embd"), 96);
  EXPECT_FALSE(config.contains("rope_theta"));
  EXPECT_FALSE(config.contains("hidden_size"));
}

TEST_F(Gpt2Program, ReadsTheOldSpellingOfNamesAndWritesTheNewOne) {
  const std::string expected = weights_after("first");
  write_old_spelling("first", "old");
  const auto exported = run("export --model " + path("old") + " --output " + path("exported"));
  ASSERT_EQ(exported.exit_code, 0) << exported.err;
  EXPECT_EQ(format::open_weights(path("exported"))->tensors().size(), 4U + 3U * 12U);
  const auto loss = [&](const std::string& model) {
    const auto result = run("eval --model " + path(model) + " --data " + path("held-out.safetensors") +
                            " --threads 2 --seq-len 32 --json " + path("eval.json"));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return Json::parse(cli::read_whole(scratch_.file("eval.json"))).at("loss").get<double>();
  };
  const double trained = loss("first");
  EXPECT_EQ(loss("old"), trained);
  EXPECT_EQ(loss("exported"), trained);
}

TEST_F(Gpt2Program, RefusesSequencesWithoutPositions) {
  const auto config = cli::read_whole(scratch_.file("model") / "config.json");
  scratch_.write("model/config.json", std::regex_replace(config, std::regex("48"), "16"));
  expect_failure(train("out"), 2, "expected at most 16 tokens, got 32");
}

TEST_F(Gpt2Program, IsReadByTransformersWithTheSameLoss) {
  const char* const python = std::getenv("SLUICE_PYTHON");
  if (python == nullptr || *python == '\0')
    GTEST_SKIP() << "SLUICE_PYTHON does not name a Python with torch and transformers";
  weights_after("out");
  const auto evaluated = run("eval --model " + path("out") + " --data " + path("held-out.safetensors") +
                             " --seq-len 32 --json " + path("eval.json"));
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.err;
  const std::string loss = Json::parse(cli::read_whole(scratch_.file("eval.json"))).at("loss").dump();
  const std::string script = std::string(SLUICE_TEST_DATA) + "/../../tools/oracles/check_model_folder.py";
  const std::string command =
      std::string(python) + " " + script + " " + path("out") + " " + path("held-out.safetensors") + " " + loss;
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
}

}  // namespace
}  // namespace sluice::train
