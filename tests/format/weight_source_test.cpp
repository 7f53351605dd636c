#include "format/weight_source.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "builders.h"
#include "format/presets.h"
#include "temporary_folder.h"

namespace sluice::format {
namespace {

TEST(WeightSource, WidensEveryFloatTypeOfSafetensors) {
  const auto weights = open_weights(test_data("python.safetensors"));
  std::vector<float> full(15);
  std::vector<float> narrow(15);
  weights->read("f32", 0, full);
  for (const char* name : {"bf16", "f16"}) {
    weights->read(name, 0, narrow);
    for (std::size_t i = 0; i < full.size(); ++i) EXPECT_NEAR(narrow[i], full[i], 0.01 * std::abs(full[i])) << name;
  }
  float scalar = 0;
  weights->read("scalar", 0, {&scalar, 1});
  EXPECT_EQ(scalar, 2.5f);
  weights->read("empty", 0, {});
}

TEST(WeightSource, RefusesIntegersByName) {
  const auto weights = open_weights(test_data("python.safetensors"));
  float value = 0;
  EXPECT_NE(message_of([&] { weights->read("i64", 0, {&value, 1}); }).find("I64"), std::string::npos);
  EXPECT_NE(message_of([&] { weights->read("absent", 0, {&value, 1}); }).find("'absent'"), std::string::npos);
}

TEST(WeightSource, SaysWhatAFolderLacks) {
  const TemporaryFolder folder;
  EXPECT_NE(message_of([&] { open_weights(folder.path()); }).find("model.safetensors"), std::string::npos);
  folder.write("pytorch_model.bin", "x");
  EXPECT_NE(message_of([&] { open_weights(folder.path()); }).find("can run code"), std::string::npos);
  EXPECT_THROW(open_weights(folder.path() / "pytorch_model.bin"), ConfigError);
  EXPECT_THROW(open_weights(folder.path() / "nowhere"), ConfigError);
}

TEST(WeightSource, GivesGpt2TheNamesOfItsClassWithAHeadAndNoMasks) {
  const TemporaryFolder folder;
  const auto names = [&](const std::string& header, std::size_t size) {
    const auto weights = open_weights(folder.write("gpt2.safetensors", safetensors_bytes(header, size)));
    std::vector<std::string> found;
    for (const TensorInfo& tensor : weights->tensors()) {
      found.push_back(tensor.name);
      EXPECT_NE(weights->find(tensor.name), nullptr);
      std::vector<float> values(static_cast<std::size_t>(tensor.num_elements()), 1);
      weights->read(tensor.name, 0, values);
      EXPECT_EQ(values, std::vector<float>(values.size())) << tensor.name;
    }
    EXPECT_THROW(weights->read("absent", 0, {}), FormatError);
    return found;
  };
  EXPECT_EQ(names(R"({"h.0.attn.bias":{"dtype":"U8","shape":[1,1,2,2],"data_offsets":[0,4]},
                      "h.0.attn.c_attn.bias":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},
                      "wte.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[8,12]},
                      "lm_head.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[12,16]}})",
                  16),
            (std::vector<std::string>{"transformer.h.0.attn.c_attn.bias", "transformer.wte.weight", "lm_head.weight"}));
  EXPECT_EQ(names(R"({"transformer.h.0.attn.masked_bias":{"dtype":"F32","shape":[],"data_offsets":[0,4]},
                      "transformer.wte.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[4,8]}})",
                  8),
            std::vector<std::string>{"transformer.wte.weight"});
}

class CheckWeights : public ::testing::Test {
 protected:
  std::string check(const std::vector<TensorInfo>& expected) {
    return message_of([&] { check_weights(preset_config("llama-tiny"), *weights_, expected); });
  }
  TemporaryFolder folder_;
  std::unique_ptr<WeightSource> weights_ = open_weights(folder_.write(
      "x.safetensors",
      safetensors_bytes(
          R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"extra":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},
        "model.layers.0.self_attn.rotary_emb.inv_freq":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}})",
          16)));
};

TEST_F(CheckWeights, AcceptsWhatMatches) { EXPECT_EQ(check({{"a", "F32", {2}}}), ""); }

TEST_F(CheckWeights, NamesTheTensorAndBothShapes) {
  const std::string message = check({{"a", "F32", {2, 3}}});
  EXPECT_NE(message.find("'a'"), std::string::npos);
  EXPECT_NE(message.find("expected [2, 3], got [2]"), std::string::npos);
}

TEST_F(CheckWeights, NamesTheTensorThatIsMissing) {
  EXPECT_NE(check({{"b", "F32", {2}}}).find("'b' is missing"), std::string::npos);
  EXPECT_NE(check({{"lm_head.weight", "F32", {2}}}).find("tie_word_embeddings"), std::string::npos);
}

TEST_F(CheckWeights, ListsUnexpectedTensorsButNotKnownBuffers) {
  const std::vector<TensorInfo> expected{{"a", "F32", {2}}};
  EXPECT_EQ(unexpected_tensors(*weights_, expected), (std::vector<std::string>{"extra"}));
}

TEST(WeightSource, ReadsTheRealModel) {
  const char* model = std::getenv("SLUICE_MODEL_GGUF");
  if (model == nullptr) GTEST_SKIP() << "set SLUICE_MODEL_GGUF to SmolLM2-135M-Instruct as GGUF";
  const ModelConfig config = read_model_config(model);
  const auto weights = open_weights(model);
  EXPECT_EQ(config.hidden_size, 576);
  EXPECT_EQ(config.rope_theta, 100000);
  std::int64_t num_elements = 0;
  double sum = 0;
  std::vector<float> values;
  for (const TensorInfo& tensor : weights->tensors()) {
    EXPECT_TRUE(tensor.name.starts_with("model.")) << tensor.name;
    num_elements += tensor.num_elements();
    values.resize(static_cast<std::size_t>(std::min<std::int64_t>(tensor.num_elements(), 10'000)));
    weights->read(tensor.name, tensor.num_elements() - static_cast<std::int64_t>(values.size()), values);
    for (const float value : values) sum += value;
  }
  EXPECT_EQ(num_elements, 134'515'008);
  EXPECT_TRUE(std::isfinite(sum));
}

}  // namespace
}  // namespace sluice::format
