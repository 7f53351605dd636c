#include "format/model_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "format/model_dir.h"
#include "format/presets.h"
#include "temporary_folder.h"

namespace sluice::format {
namespace {

using nlohmann::json;

json good() {
  return json::parse(
      R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":100,"hidden_size":64,"intermediate_size":128,
    "num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":256,"rms_norm_eps":1e-05,
    "rope_theta":5000.0,"bos_token_id":1,"eos_token_id":2,"something_unknown":{"kept":true}})");
}

ModelConfig parse(const json& root) { return parse_model_config(root.dump(), "config.json"); }

std::string refusal_of(const char* key, const json& value) {
  json root = good();
  root[key] = value;
  return message_of([&] { parse(root); });
}

TEST(ModelConfig, ReadsTheFieldsOfALlama) {
  const ModelConfig config = parse(good());
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
  EXPECT_EQ(config.num_layers, 2);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.num_kv_heads, 2);
  EXPECT_EQ(config.rope_theta, 5000);
  EXPECT_EQ(config.rope_scaling.type, "default");
  EXPECT_EQ(config.eos_token_ids, (std::vector<std::int64_t>{2}));
  EXPECT_FALSE(config.pad_token_id.has_value());
  EXPECT_NE(config.json.find("something_unknown"), std::string::npos);
}

TEST(ModelConfig, FillsWhatMayBeAbsent) {
  json root = good();
  root.erase("num_key_value_heads");
  root.erase("rope_theta");
  root.erase("architectures");
  root["head_dim"] = nullptr;
  root["pad_token_id"] = -1;
  root["eos_token_id"] = {2, 3};
  const ModelConfig config = parse(root);
  EXPECT_EQ(config.num_kv_heads, 4);
  EXPECT_EQ(config.rope_theta, 10000);
  EXPECT_FALSE(config.pad_token_id.has_value());
  EXPECT_EQ(config.eos_token_ids, (std::vector<std::int64_t>{2, 3}));
}

TEST(ModelConfig, HeadsNeedNotFillTheHiddenSize) {
  json root = good();
  root["head_dim"] = 32;
  EXPECT_EQ(parse(root).head_dim, 32);
}

TEST(ModelConfig, ReadsBothSpellingsOfRope) {
  const json llama3{{"rope_type", "llama3"},
                    {"factor", 8.0},
                    {"low_freq_factor", 1.0},
                    {"high_freq_factor", 4.0},
                    {"original_max_position_embeddings", 8192}};
  json v4 = good();
  v4["rope_scaling"] = llama3;
  json v5 = good();
  v5.erase("rope_theta");
  v5["rope_parameters"] = llama3;
  v5["rope_parameters"]["rope_theta"] = 5000.0;
  for (const json& root : {v4, v5}) {
    const ModelConfig config = parse(root);
    EXPECT_EQ(config.rope_theta, 5000);
    EXPECT_EQ(config.rope_scaling.type, "llama3");
    EXPECT_EQ(config.rope_scaling.factor, 8);
    EXPECT_EQ(config.rope_scaling.original_max_position_embeddings, 8192);
  }
  json legacy = good();
  legacy["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}};
  EXPECT_EQ(parse(legacy).rope_scaling.type, "linear");
}

TEST(ModelConfig, RefusesSpellingsOfRopeThatContradict) {
  json root = good();
  root["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 6000.0}};
  EXPECT_NE(message_of([&] { parse(root); }).find("contradict"), std::string::npos);
  root["rope_parameters"] = {{"rope_type", "linear"}, {"factor", 2.0}};
  root["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 4.0}};
  EXPECT_NE(message_of([&] { parse(root); }).find("contradict"), std::string::npos);
}

TEST(ModelConfig, RefusesByNameWhatIsNotComputed) {
  EXPECT_NE(refusal_of("model_type", "bloom").find("'bloom'"), std::string::npos);
  EXPECT_NE(refusal_of("architectures", {"LlamaForSequenceClassification"}).find("'LlamaForSequenceClassification'"),
            std::string::npos);
  EXPECT_NE(refusal_of("rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}).find("'yarn'"), std::string::npos);
  EXPECT_NE(refusal_of("rope_scaling", {{"type", "dynamic"}, {"factor", 4.0}}).find("'dynamic'"), std::string::npos);
  EXPECT_NE(refusal_of("rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}).find("per layer type"),
            std::string::npos);
  EXPECT_NE(refusal_of("rope_parameters", {{"partial_rotary_factor", 0.5}}).find("partial_rotary_factor"),
            std::string::npos);
  EXPECT_NE(refusal_of("hidden_act", "gelu").find("'gelu'"), std::string::npos);
  EXPECT_NE(refusal_of("quantization_config", {{"bits", 4}}).find("quantization_config"), std::string::npos);
}

TEST(ModelConfig, RefusesASlidingWindowThatWouldBeUsed) {
  json root = good();
  root["model_type"] = "mistral";
  root["architectures"] = {"MistralForCausalLM"};
  root["sliding_window"] = 64;
  EXPECT_NE(message_of([&] { parse(root); }).find("sliding_window"), std::string::npos);
  root["sliding_window"] = 256;
  EXPECT_EQ(parse(root).model_type, "mistral");
  root["sliding_window"] = nullptr;
  EXPECT_NO_THROW(parse(root));
  root.erase("sliding_window");
  EXPECT_NE(message_of([&] { parse(root); }).find("sliding_window"), std::string::npos)
      << "absent means 4096 to the published class";
}

json good_gpt2() {
  return json::parse(
      R"({"architectures":["GPT2LMHeadModel"],"model_type":"gpt2","vocab_size":100,"n_ctx":32,"n_positions":32,"n_embd":24,
    "n_layer":2,"n_head":3,"layer_norm_epsilon":1e-06,"activation_function":"gelu","resid_pdrop":0.2,"embd_pdrop":0.1,
    "attn_pdrop":0.0,"bos_token_id":99,"eos_token_id":99,"summary_type":"cls_index"})");
}

std::string gpt2_refusal_of(const char* key, const json& value) {
  json root = good_gpt2();
  root[key] = value;
  return message_of([&] { parse(root); });
}

TEST(ModelConfig, ReadsGpt2UnderItsOwnNames) {
  const ModelConfig config = parse(good_gpt2());
  EXPECT_EQ(config.architecture, "GPT2LMHeadModel");
  EXPECT_EQ(config.hidden_size, 24);
  EXPECT_EQ(config.intermediate_size, 96) << "four times the width unless n_inner says otherwise";
  EXPECT_EQ(config.num_layers, 2);
  EXPECT_EQ(config.num_kv_heads, 3);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.max_position_embeddings, 32);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  EXPECT_EQ(config.hidden_act, "gelu");
  EXPECT_EQ(config.dropout, 0.2);
  EXPECT_TRUE(config.learned_positions);
  EXPECT_TRUE(config.tie_word_embeddings);
  json inner = good_gpt2();
  inner["n_inner"] = 40;
  EXPECT_EQ(parse(inner).intermediate_size, 40);
  inner["n_inner"] = nullptr;
  EXPECT_EQ(parse(inner).intermediate_size, 96);
}

TEST(ModelConfig, TakesTheDefaultsOfGpt2ForWhatIsAbsent) {
  const ModelConfig config = parse(json::parse(R"({"model_type":"gpt2"})"));
  EXPECT_EQ(config.vocab_size, 50257);
  EXPECT_EQ(config.hidden_size, 768);
  EXPECT_EQ(config.num_layers, 12);
  EXPECT_EQ(config.num_heads, 12);
  EXPECT_EQ(config.max_position_embeddings, 1024);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_EQ(config.hidden_act, "gelu_new");
  EXPECT_EQ(config.dropout, 0.1);
}

TEST(ModelConfig, TakesTheCommonSpellingOfAGpt2KeyUnlessTheyContradict) {
  json root = good_gpt2();
  root["hidden_size"] = 24;
  EXPECT_EQ(parse(root).hidden_size, 24);
  root.erase("n_embd");
  EXPECT_EQ(parse(root).hidden_size, 24);
  EXPECT_NE(gpt2_refusal_of("hidden_size", 48).find("n_embd: expected the same as hidden_size"), std::string::npos);
}

TEST(ModelConfig, RefusesByNameWhatIsNotComputedOfGpt2) {
  EXPECT_NE(gpt2_refusal_of("activation_function", "relu").find("activation_function 'relu'"), std::string::npos);
  EXPECT_NE(gpt2_refusal_of("scale_attn_weights", false).find("scale_attn_weights"), std::string::npos);
  EXPECT_NE(gpt2_refusal_of("scale_attn_by_inverse_layer_idx", true).find("by_inverse"), std::string::npos);
  EXPECT_NE(gpt2_refusal_of("add_cross_attention", true).find("add_cross_attention"), std::string::npos);
  EXPECT_NE(gpt2_refusal_of("architectures", {"GPT2ForSequenceClassification"}).find("expected GPT2LMHeadModel"),
            std::string::npos);
  EXPECT_NE(gpt2_refusal_of("n_embd", 25).find("n_embd: expected a multiple of n_head"), std::string::npos);
  EXPECT_NE(gpt2_refusal_of("n_layer", 0).find("n_layer"), std::string::npos);
  EXPECT_NE(gpt2_refusal_of("n_embd", std::int64_t{3} << 59), "");
}

TEST(ModelConfig, RefusesSizesOutOfBounds) {
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "num_key_value_heads", "max_position_embeddings", "head_dim"})
    for (const json& value : {json(0), json(-1), json(std::int64_t{1} << 40), json(~std::uint64_t{0}), json(1.5),
                              json("4"), json::array({4})})
      EXPECT_NE(refusal_of(key, value), "") << key << value;
  EXPECT_NE(refusal_of("num_key_value_heads", 3).find("divisor"), std::string::npos);
  EXPECT_NE(refusal_of("head_dim", 15).find("even"), std::string::npos);
  EXPECT_NE(refusal_of("hidden_size", 66).find("multiple"), std::string::npos);
  EXPECT_NE(refusal_of("bos_token_id", 100).find("below vocab_size"), std::string::npos);
  EXPECT_NE(refusal_of("eos_token_id", {2, 100}).find("below vocab_size"), std::string::npos);
  EXPECT_NE(refusal_of("rms_norm_eps", 0), "");
  EXPECT_NE(refusal_of("rope_theta", -1), "");
  EXPECT_NE(refusal_of("rope_scaling", {{"rope_type", "linear"}}).find("factor"), std::string::npos);
}

TEST(ModelConfig, RefusesTextThatIsNotOneDocument) {
  for (const std::string& text : {std::string("{"), std::string("[]"), std::string("{}{}"), std::string("{}"),
                                  std::string("{\"a\":1,\"a\":2}"), std::string("{\"a\":") + std::string(70, '[')})
    EXPECT_THROW(parse_model_config(text, "x"), Error) << text;
  EXPECT_THROW(parse_model_config(std::string(5 << 20, ' '), "x"), FormatError);
}

TEST(ModelConfig, IsFoundInAFolderAFileOrNowhere) {
  const TemporaryFolder folder;
  const auto path = folder.write("config.json", good().dump());
  EXPECT_EQ(read_model_config(folder.path()).hidden_size, 64);
  EXPECT_EQ(read_model_config(path).name_or_path, path.string());
  EXPECT_THROW(read_model_config(folder.path() / "nothing"), ConfigError);
  EXPECT_THROW(read_model_config(folder.path() / "nothing.json"), ConfigError);
}

TEST(ModelConfig, WrittenConfigsReadBackTheSame) {
  for (const Preset& preset : model_presets()) {
    const ModelConfig config = preset_config(preset.name);
    const ModelConfig back = parse_model_config(config.json, preset.name);
    EXPECT_EQ(make_config_json(back), config.json) << preset.name;
  }
}

TEST(UpdatedConfig, KeepsUnknownKeysAndAddsBothSpellings) {
  json root = good();
  root["torch_dtype"] = "float16";
  const json updated = json::parse(updated_config_json(parse(root), "BF16"));
  EXPECT_EQ(updated["torch_dtype"], "bfloat16");
  EXPECT_EQ(updated["dtype"], "bfloat16");
  EXPECT_EQ(updated["something_unknown"], root["something_unknown"]);
  EXPECT_EQ(updated["rope_theta"], 5000.0);
  EXPECT_EQ(updated["rope_scaling"], nullptr);
  EXPECT_EQ(updated["rope_parameters"], (json{{"rope_type", "default"}, {"rope_theta", 5000.0}}));
  EXPECT_THROW(updated_config_json(parse(root), "I64"), ConfigError);
}

TEST(UpdatedConfig, FillsASpellingThatIsNull) {
  json root = good();
  root["rope_theta"] = nullptr;
  root["rope_scaling"] = nullptr;
  root["rope_parameters"] = {{"rope_type", "linear"}, {"factor", 2.0}, {"rope_theta", 7000.0}};
  const json updated = json::parse(updated_config_json(parse(root), "F32"));
  EXPECT_EQ(updated["rope_theta"], 7000.0);
  EXPECT_EQ(updated["rope_scaling"], (json{{"rope_type", "linear"}, {"factor", 2.0}}));
  EXPECT_EQ(updated["rope_parameters"], root["rope_parameters"]);
}

TEST(UpdatedConfig, LeavesGpt2WithoutRope) {
  const json updated = json::parse(updated_config_json(parse(good_gpt2()), "F32"));
  json expected = good_gpt2();
  expected["dtype"] = expected["torch_dtype"] = "float32";
  EXPECT_EQ(updated, expected);
}

std::int64_t count_gpt2_parameters(const ModelConfig& c) {
  const std::int64_t d = c.hidden_size;
  return (c.vocab_size + c.max_position_embeddings + 2) * d + c.num_layers * (12 * d * d + 13 * d);
}

std::int64_t count_parameters(const ModelConfig& c) {
  const std::int64_t q = c.num_heads * c.head_dim;
  const std::int64_t kv = c.num_kv_heads * c.head_dim;
  const std::int64_t layer = 2 * c.hidden_size * (q + kv) + 3 * c.hidden_size * c.intermediate_size + 2 * c.hidden_size;
  return c.vocab_size * c.hidden_size * (c.tie_word_embeddings ? 1 : 2) + c.num_layers * layer + c.hidden_size;
}

TEST(Presets, HaveThePublishedParameterCounts) {
  EXPECT_EQ(count_parameters(preset_config("llama-7b")), 6'738'415'616);
  EXPECT_EQ(count_parameters(preset_config("llama-13b")), 13'015'864'320);
  EXPECT_EQ(count_parameters(preset_config("llama-30b")), 32'528'943'616);
  EXPECT_EQ(count_parameters(preset_config("llama-65b")), 65'285'660'672);
  EXPECT_EQ(count_parameters(preset_config("llama-2-70b")), 68'976'648'192);
  EXPECT_EQ(count_parameters(preset_config("llama-3.1-8b")), 8'030'261'248);
  EXPECT_EQ(count_parameters(preset_config("llama-3.1-70b")), 70'553'706'496);
  EXPECT_EQ(count_parameters(preset_config("llama-3.2-1b")), 1'235'814'400);
  EXPECT_EQ(count_parameters(preset_config("llama-3.2-3b")), 3'212'749'824);
  EXPECT_EQ(count_parameters(preset_config("smollm2-135m")), 134'515'008);
  EXPECT_EQ(count_parameters(preset_config("tinyllama-1.1b")), 1'100'048'384);
  EXPECT_EQ(count_gpt2_parameters(preset_config("gpt2")), 124'439'808);
  EXPECT_EQ(count_gpt2_parameters(preset_config("gpt2-medium")), 354'823'168);
  EXPECT_EQ(count_gpt2_parameters(preset_config("gpt2-large")), 774'030'080);
  EXPECT_EQ(count_gpt2_parameters(preset_config("gpt2-xl")), 1'557'611'200);
  EXPECT_EQ(count_parameters(preset_config("llama-3-70b")), 70'553'706'496);
  EXPECT_EQ(count_parameters(preset_config("llama-3.1-405b")), 405'853'388'800);
  EXPECT_EQ(count_parameters(preset_config("mistral-7b-v0.3")), 7'248'023'552);
  EXPECT_EQ(count_parameters(preset_config("mistral-large-123b")), 122'610'069'504);
  EXPECT_EQ(count_parameters(preset_config("smollm2-360m")), 361'821'120);
  EXPECT_EQ(count_parameters(preset_config("smollm2-1.7b")), 1'711'376'384);
  EXPECT_EQ(count_gpt2_parameters(preset_config("gpt3-1.5b")), 1'557'611'200);
  EXPECT_EQ(count_gpt2_parameters(preset_config("gpt3-18b")) / 1'000'000, 18'334);
  EXPECT_EQ(count_gpt2_parameters(preset_config("gpt3-24b")) / 1'000'000, 24'582);
  EXPECT_EQ(count_gpt2_parameters(preset_config("gpt3-175b")) / 1'000'000, 174'604);
}

TEST(Presets, NameTheNearestOne) {
  EXPECT_NE(message_of([] { preset_config("llama-8b-3.1"); }).find("known are llama-tiny"), std::string::npos);
  EXPECT_NE(message_of([] { preset_config("smollm2-135"); }).find("did you mean 'smollm2-135m'"), std::string::npos);
}

}  // namespace
}  // namespace sluice::format
