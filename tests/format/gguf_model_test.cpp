#include "format/gguf_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numbers>

#include "base/error.h"
#include "builders.h"
#include "format/presets.h"
#include "temporary_folder.h"

namespace sluice::format {
namespace {

TEST(GgufModel, ConfigEqualsWhatWasConverted) {
  const ModelConfig config = read_model_config(test_data("llama.gguf"));
  EXPECT_EQ(config.model_type, "llama");
  EXPECT_EQ(config.vocab_size, 288);
  EXPECT_EQ(config.hidden_size, 64);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.num_kv_heads, 2);
  EXPECT_EQ(config.rope_theta, 100000);
  EXPECT_EQ(config.rms_norm_eps, 1e-5) << "the decimal that was written, not the float";
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.eos_token_ids, (std::vector<std::int64_t>{2}));
  const ModelConfig back = parse_model_config(config.json, "config.json");
  EXPECT_EQ(make_config_json(back), config.json);
}

TEST(GgufModel, WeightsEqualTheReferenceBitForBit) {
  const auto weights = open_weights(test_data("llama.gguf"));
  const auto expected = open_weights(test_data("llama_expected.safetensors"));
  ASSERT_EQ(weights->tensors().size(), expected->tensors().size());
  for (const TensorInfo& tensor : expected->tensors()) {
    const TensorInfo* found = weights->find(tensor.name);
    ASSERT_NE(found, nullptr) << tensor.name;
    EXPECT_EQ(found->shape, tensor.shape) << tensor.name;
    std::vector<float> want(static_cast<std::size_t>(tensor.num_elements()));
    std::vector<float> got(want.size());
    expected->read(tensor.name, 0, want);
    weights->read(tensor.name, 0, got);
    EXPECT_EQ(std::memcmp(want.data(), got.data(), want.size() * 4), 0) << tensor.name;
    for (const std::size_t piece : {std::size_t{1}, std::size_t{37}, std::size_t{64}, std::size_t{1000}}) {
      std::fill(got.begin(), got.end(), -1.0f);
      for (std::size_t at = 0; at < got.size(); at += piece)
        weights->read(tensor.name, static_cast<std::int64_t>(at),
                      std::span(got).subspan(at, std::min(piece, got.size() - at)));
      EXPECT_EQ(std::memcmp(want.data(), got.data(), want.size() * 4), 0) << tensor.name << " in pieces of " << piece;
    }
  }
}

TEST(GgufModel, RefusesReadsOutsideOfATensor) {
  const auto weights = open_weights(test_data("llama.gguf"));
  std::vector<float> values(2);
  for (const char* name : {"model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight"}) {
    const std::int64_t count = weights->find(name)->num_elements();
    EXPECT_THROW(weights->read(name, count - 1, values), FormatError);
    EXPECT_THROW(weights->read(name, -1, values), FormatError);
  }
  EXPECT_THROW(weights->read("nothing", 0, values), FormatError);
}

TEST(GgufModel, TranslatesNames) {
  EXPECT_EQ(hugging_face_name("token_embd.weight"), "model.embed_tokens.weight");
  EXPECT_EQ(hugging_face_name("output.weight"), "lm_head.weight");
  EXPECT_EQ(hugging_face_name("output_norm.weight"), "model.norm.weight");
  EXPECT_EQ(hugging_face_name("blk.12.attn_k.bias"), "model.layers.12.self_attn.k_proj.bias");
  EXPECT_EQ(hugging_face_name("blk.0.ffn_norm.weight"), "model.layers.0.post_attention_layernorm.weight");
  for (const char* name : {"", "blk", "blk.0", "blk..attn_q.weight", "blk.x.attn_q.weight", "blk.01.attn_q.weight",
                           "blk.0.weight", "rope_freqs.weight", "blk.0.attn_q.scale"})
    EXPECT_EQ(hugging_face_name(name), "") << name;
}

TEST(GgufModel, RefusesByNameWhatIsNotComputed) {
  const auto refusal = [](const GgufBuilder& builder) {
    return message_of([&] { gguf_model_config(*builder.open()); });
  };
  EXPECT_EQ(refusal(tiny_llama()), "");
  EXPECT_NE(refusal(GgufBuilder().add("general.architecture", "gemma3")).find("'gemma3'"), std::string::npos);
  EXPECT_NE(refusal(GgufBuilder()).find("general.architecture"), std::string::npos);
  EXPECT_NE(refusal(tiny_llama().add("llama.expert_count", 8u)).find("experts"), std::string::npos);
  EXPECT_NE(refusal(tiny_llama().add("split.count", 2u)).find("split"), std::string::npos);
  EXPECT_NE(refusal(tiny_llama().add("llama.rope.scaling.type", "yarn")).find("'yarn'"), std::string::npos);
  EXPECT_NE(refusal(tiny_llama().add("llama.rope.dimension_count", 2u)).find("partial rotation"), std::string::npos);
  EXPECT_NE(refusal(tiny_llama().add("llama.vocab_size", 17u)).find("rows of token_embd"), std::string::npos);
  EXPECT_NE(
      refusal(tiny_llama().add("tokenizer.ggml.tokens", std::vector<std::string>(17, "x"))).find("at most 16 tokens"),
      std::string::npos);
  EXPECT_NE(refusal(tiny_llama().add("tokenizer.ggml.bos_token_id", 16u)).find("bos_token_id"), std::string::npos);
  EXPECT_NE(refusal(tiny_llama().add("llama.attention.head_count_kv", 0u)), "");
}

std::string llama3_factors(double factor, double theta, int head_dim, float spoil) {
  std::string bytes;
  for (int i = 0; i < head_dim / 2; ++i) {
    const double wavelength = 2 * std::numbers::pi * std::pow(theta, 2.0 * i / head_dim);
    double value = factor;
    if (wavelength < 8192.0 / 4) value = 1;
    if (wavelength >= 8192.0 / 4 && wavelength <= 8192) {
      const double smooth = (8192 / wavelength - 1) / 3;
      value = 1 / ((1 - smooth) / factor + smooth);
    }
    bytes += raw(static_cast<float>(value) + (i == 3 ? spoil : 0));
  }
  return bytes;
}

GgufBuilder llama3(float spoil) {
  GgufBuilder builder;
  builder.add("general.architecture", "llama")
      .add("llama.block_count", 1u)
      .add("llama.context_length", 131072u)
      .add("llama.embedding_length", 64u)
      .add("llama.feed_forward_length", 64u)
      .add("llama.attention.head_count", 1u)
      .add("llama.rope.freq_base", 500000.0f)
      .add_zeros("token_embd.weight", {64, 16})
      .add_tensor("rope_freqs.weight", {32}, 0, llama3_factors(32, 500000, 64, spoil));
  return builder;
}

TEST(GgufModel, RecognisesTheRopeScalingOfLlama3) {
  const ModelConfig config = gguf_model_config(*llama3(0).open());
  EXPECT_EQ(config.rope_scaling.type, "llama3");
  EXPECT_EQ(config.rope_scaling.factor, 32);
  EXPECT_EQ(config.rope_scaling.original_max_position_embeddings, 8192);
  EXPECT_THROW(gguf_model_config(*llama3(0.25f).open()), ConfigError);
  EXPECT_EQ(make_gguf_weights(llama3(0).open())->tensors().size(), 1u) << "the factors are no weights";
}

TEST(GgufModel, GenerationStopsAtBothEndTokens) {
  const auto file = tiny_llama().add("tokenizer.ggml.eos_token_id", 3u).add("tokenizer.ggml.eot_token_id", 9u).open();
  EXPECT_EQ(nlohmann::json::parse(gguf_generation_config(*file))["eos_token_id"], (nlohmann::json{3, 9}));
  EXPECT_EQ(gguf_generation_config(*tiny_llama().open()), "{}\n");
}

}  // namespace
}  // namespace sluice::format
