#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "format/model_config.h"
#include "format/safetensors_writer.h"
#include "format/temporary_folder.h"
#include "format/weight_source.h"
#include "model/model.h"
#include "model/tracer.h"
#include "train/verbs.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

/// A tiny model folder with fp32 weights 0, 0.25, 0.5, ... in every tensor.
class Export : public testing::Test {
 protected:
  Export() {
    const std::string config = R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":32,
      "hidden_size":16,"intermediate_size":24,"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,
      "max_position_embeddings":64,"rms_norm_eps":1e-5,"tie_word_embeddings":false,"left_as_it_is":7})";
    fs::create_directory(model());
    write_text(model() / "config.json", config);
    write_text(model() / "tokenizer_config.json", "{\"x\": 1}");
    write_weights(1.0F);
  }
  [[nodiscard]] fs::path model() const { return folder_.path() / "model"; }
  [[nodiscard]] fs::path output() const { return folder_.path() / "output"; }

  void write_weights(float scale) {
    std::vector<format::TensorInfo> tensors;
    for (const auto& spec : model::make_model(format::read_model_config(model())).chunks) {
      for (const auto& slot : model::chunk_layout(spec).parameters) tensors.push_back({slot.name, "F32", slot.shape});
    }
    format::ModelWeightsWriter writer(model(), tensors);
    for (const auto& tensor : tensors) {
      std::vector<float> values(static_cast<std::size_t>(tensor.num_elements()));
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 256) * 0.25F * scale;
      writer.append(tensor.name, std::as_bytes(std::span(values)));
    }
    writer.publish();
  }
  [[nodiscard]] int run(std::optional<recipe::DType> dtype) const {
    recipe::Settings settings;
    settings.model = model().string();
    settings.output = output().string();
    settings.dtype = dtype;
    return run_export(settings);
  }

  format::TemporaryFolder folder_;
};

TEST_F(Export, KeepsStoredBytesWithoutADtype) {
  EXPECT_EQ(run(std::nullopt), 0);
  EXPECT_EQ(read_text(output() / "model.safetensors"), read_text(model() / "model.safetensors"));
  EXPECT_EQ(read_text(output() / "tokenizer_config.json"), "{\"x\": 1}");
}

TEST_F(Export, WritesTheDtypeThatIsAskedForIntoWeightsAndConfig) {
  EXPECT_EQ(run(recipe::DType::Bf16), 0);
  const auto config = nlohmann::json::parse(read_text(output() / "config.json"));
  EXPECT_EQ(config["torch_dtype"], "bfloat16");
  EXPECT_EQ(config["left_as_it_is"], 7);
  const auto before = format::open_weights(model()), after = format::open_weights(output());
  ASSERT_EQ(after->tensors().size(), before->tensors().size());
  for (const auto& tensor : after->tensors()) {
    EXPECT_EQ(tensor.dtype, "BF16");
    std::vector<float> a(static_cast<std::size_t>(tensor.num_elements())), b(a.size());
    before->read(tensor.name, 0, a);
    after->read(tensor.name, 0, b);
    EXPECT_EQ(a, b) << tensor.name;  // values up to 63.75 in quarters are exact in bf16
  }
}

TEST_F(Export, RefusesValuesThatFp16CannotHoldAndLeavesNothing) {
  write_weights(1e6F);
  EXPECT_THROW((void)run(recipe::DType::Fp16), NumericsError);
  std::size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder_.path())) ++entries;
  EXPECT_EQ(entries, 1U);
}

TEST_F(Export, RefusesWhatItWouldOverwriteAndWhatItCannotWrite) {
  EXPECT_EQ(run(std::nullopt), 0);
  EXPECT_THROW((void)run(std::nullopt), ConfigError);
  recipe::Settings gguf;
  gguf.model = model().string();
  gguf.output = (folder_.path() / "model.gguf").string();
  EXPECT_THROW((void)run_export(gguf), ConfigError);
  write_text(model() / "adapter_config.json", "{}");
  fs::remove_all(output());
  EXPECT_THROW((void)run(std::nullopt), ConfigError);
}

TEST_F(Export, RefusesAModelThatLacksATensor) {
  format::ModelWeightsWriter writer(model(), {{"model.norm.weight", "F32", {16}}});
  const std::vector<float> values(16);
  writer.append("model.norm.weight", std::as_bytes(std::span(values)));
  writer.publish();
  EXPECT_THROW((void)run(std::nullopt), FormatError);
  EXPECT_FALSE(fs::exists(output()));
}

}  // namespace
}  // namespace sluice::train
