#include "format/peft.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "format/peft_weights.h"
#include "format/safetensors_writer.h"
#include "format/temporary_folder.h"

namespace sluice::format {
namespace {

using Json = nlohmann::json;

TEST(AdapterConfig, NamesModulesAsPeftDoes) {
  const std::string q = "model.layers.0.self_attn.q_proj", up = "model.layers.0.mlp.up_proj";
  EXPECT_TRUE(names_target({.targets = {"q_proj"}}, q));
  EXPECT_TRUE(names_target({.targets = {"up_proj", "self_attn.q_proj"}}, q));
  EXPECT_FALSE(names_target({.targets = {"proj"}}, q));
  EXPECT_TRUE(names_target({.targets = {R"(.*self_attn\.(q|v)_proj)"}}, q));
  EXPECT_FALSE(names_target({.targets = {R"(self_attn\.(q|v)_proj)"}}, q)) << "an expression is of the whole name";
  EXPECT_TRUE(adapted_module({.targets = {"all-linear"}}, up).has_value());
  EXPECT_FALSE(adapted_module({.targets = {"q_proj"}}, up).has_value());
}

TEST(AdapterConfig, GivesEachModuleItsRankAndScale) {
  AdapterConfig config{.rank = 4, .alpha = 8, .targets = {"all-linear"}};
  config.rank_pattern = {{"up_proj", 2}, {"layers.0.mlp.up_proj", 5}};
  config.alpha_pattern = {{"layers.1.*", 3}};
  const auto module = [&](const char* name) { return adapted_module(config, name).value(); };
  EXPECT_EQ(module("model.layers.0.mlp.up_proj").rank, 2) << "the first that matches";
  EXPECT_EQ(module("model.layers.0.mlp.up_proj").scale, 4.0);
  EXPECT_EQ(module("model.layers.1.mlp.down_proj").scale, 0.75);
  config.rslora = true;
  EXPECT_EQ(module("model.layers.0.mlp.down_proj").scale, 8 / std::sqrt(4.0));
}

TEST(AdapterConfig, IsReadBackAsItWasWritten) {
  const TemporaryFolder folder;
  AdapterConfig config{.rank = 4, .alpha = 2.5, .rslora = true, .targets = {"all-linear"}, .base_model = "/base"};
  config.rank_pattern = {{"c_proj", 2}};
  const std::vector<AdaptedModule> modules = {*adapted_module(config, "transformer.h.0.attn.c_attn"),
                                              *adapted_module(config, "transformer.h.0.attn.c_proj")};
  folder.write(kAdapterConfigName, adapter_config_json(config, modules, true));
  EXPECT_TRUE(is_adapter_folder(folder.path()));
  const AdapterConfig read = read_adapter_config(folder.path());
  EXPECT_EQ(read.targets, (std::vector<std::string>{"c_attn", "c_proj"}));
  EXPECT_EQ(read.base_model, "/base");
  for (const AdaptedModule& module : modules) {
    const auto again = adapted_module(read, module.name);
    ASSERT_TRUE(again.has_value());
    EXPECT_EQ(again->rank, module.rank);
    EXPECT_EQ(again->scale, module.scale);
  }
  folder.write("config.json", "{}");
  EXPECT_FALSE(is_adapter_folder(folder.path())) << "it holds a model of its own";
}

TEST(AdapterConfig, ToleratesUnknownKeysAndRefusesWhatChangesTheResult) {
  const TemporaryFolder folder;
  const auto with = [&](const char* key, const Json& value) {
    Json root = {{"peft_type", "LORA"}, {"target_modules", "q_proj"}, {"a_newer_key", {{"x", 1}}}};
    if (key != nullptr) root[key] = value;
    folder.write(kAdapterConfigName, root.dump());
    return message_of([&] { (void)read_adapter_config(folder.path()); });
  };
  EXPECT_EQ(with(nullptr, {}), "");
  EXPECT_EQ(with("modules_to_save", nullptr), "");
  EXPECT_EQ(with("lora_dropout", 0.1), "");
  EXPECT_NE(with("peft_type", "IA3").find("'IA3' is not available"), std::string::npos);
  EXPECT_EQ(with("use_dora", true), "");
  EXPECT_NE(with("use_qalora", true).find("'use_qalora' is not available"), std::string::npos);
  EXPECT_NE(with("bias", "all").find("bias"), std::string::npos);
  EXPECT_NE(with("modules_to_save", {"lm_head"}).find("modules_to_save"), std::string::npos);
  EXPECT_NE(with("init_lora_weights", "pissa_niter_4").find("pissa"), std::string::npos);
  EXPECT_NE(with("r", "four").find("cannot be read"), std::string::npos);
  EXPECT_NE(with("r", 0).find("'r' above 0"), std::string::npos);
}

/// A base of one matrix [3,2] and an adapter of it, with A = {1, 10} and B = {1, 2, 3}.
class AdapterWeights : public testing::Test {
 protected:
  void write(const std::string& file, const std::vector<TensorInfo>& tensors,
             const std::vector<std::vector<float>>& values) {
    SafetensorsWriter writer(folder_.path() / file, tensors);
    for (std::size_t i = 0; i < tensors.size(); ++i)
      writer.append(tensors[i].name, std::as_bytes(std::span(values[i])));
    writer.publish();
  }
  void write_adapter() {
    write(kAdapterWeightsName,
          {{"base_model.model.m.lora_A.weight", "F32", {1, 2}}, {"base_model.model.m.lora_B.weight", "F32", {3, 1}}},
          {{1, 10}, {1, 2, 3}});
  }
  [[nodiscard]] std::vector<float> merged(bool in_out, std::int64_t first, std::size_t count) const {
    const std::vector<AdaptedModule> modules = {{"m", 1, 2, 2}};
    const auto weights = merge_adapter(open_weights(folder_.path() / "base.safetensors"),
                                       open_adapter_weights(folder_.path(), modules), modules, in_out);
    std::vector<float> values(count);
    weights->read("m.weight", first, values);
    return values;
  }
  TemporaryFolder folder_;
};

TEST_F(AdapterWeights, AreMergedInEitherLayoutAndInAnyPieces) {
  write_adapter();
  write("base.safetensors", {{"m.weight", "F32", {3, 2}}, {"n", "F32", {1}}}, {{0, 0, 1, 1, 2, 2}, {7}});
  EXPECT_EQ(merged(false, 0, 6), (std::vector<float>{2, 20, 5, 41, 8, 62}));
  EXPECT_EQ(merged(false, 1, 3), (std::vector<float>{20, 5, 41}));
  write("base.safetensors", {{"m.weight", "F32", {2, 3}}}, {{0, 1, 2, 0, 1, 2}});
  EXPECT_EQ(merged(true, 0, 6), (std::vector<float>{2, 5, 8, 20, 41, 62}));
}

TEST_F(AdapterWeights, BringRowsToTheirMagnitudesInEitherLayoutAndInAnyPieces) {
  const std::vector<AdaptedModule> modules = {{.name = "m", .rank = 1, .scale = 2, .magnitude = true}};
  write(kAdapterWeightsName,
        {{"base_model.model.m.lora_A.weight", "F32", {1, 2}},
         {"base_model.model.m.lora_B.weight", "F32", {3, 1}},
         {"base_model.model.m.lora_magnitude_vector", "F32", {3}}},
        {{0, 2}, {1, 0, 0.5}, {10, 3, 2}});
  const auto merged_from = [&](bool in_out, std::int64_t first, std::size_t count) {
    const auto weights = merge_adapter(open_weights(folder_.path() / "base.safetensors"),
                                       open_adapter_weights(folder_.path(), modules), modules, in_out);
    std::vector<float> values(count);
    weights->read("m.weight", first, values);
    return values;
  };
  // With 2 B A = {0 4, 0 0, 0 2} the rows are {3 4}, {0 1} and {0 4}, as long as 5, 1 and 4.
  write("base.safetensors", {{"m.weight", "F32", {3, 2}}}, {{3, 0, 0, 1, 0, 2}});
  EXPECT_EQ(merged_from(false, 0, 6), (std::vector<float>{6, 8, 0, 3, 0, 2}));
  EXPECT_EQ(merged_from(false, 1, 3), (std::vector<float>{8, 0, 3}));
  write("base.safetensors", {{"m.weight", "F32", {2, 3}}}, {{3, 0, 0, 0, 1, 2}});
  EXPECT_EQ(merged_from(true, 0, 6), (std::vector<float>{6, 0, 0, 8, 3, 2}));
}

TEST_F(AdapterWeights, BeginWithTheLengthsOfTheBasesRows) {
  const std::vector<AdaptedModule> modules = {{.name = "m", .rank = 1, .magnitude = true}};
  write("base.safetensors", {{"m.weight", "F32", {2, 3}}}, {{3, 0, 1, 4, 2, 0}});
  const auto lengths = [&](bool in_out, std::size_t count) {
    const auto weights = add_magnitudes(open_weights(folder_.path() / "base.safetensors"), modules, in_out);
    std::vector<float> values(count);
    weights->read("base_model.model.m.lora_magnitude_vector", 0, values);
    return values;
  };
  EXPECT_EQ(lengths(false, 2), (std::vector<float>{std::sqrt(10.0F), std::sqrt(20.0F)}));
  EXPECT_EQ(lengths(true, 3), (std::vector<float>{5, 2, 1}));
}

TEST_F(AdapterWeights, MustBeThoseOfTheModules) {
  const auto message = [&](const std::vector<AdaptedModule>& modules) {
    return message_of([&] { (void)open_adapter_weights(folder_.path(), modules); });
  };
  EXPECT_NE(message({}).find("no weights"), std::string::npos);
  write_adapter();
  EXPECT_EQ(message({{"m", 1, 1, 1}}), "");
  EXPECT_NE(message({{"m", 2, 1, 1}}).find("another rank"), std::string::npos);
  EXPECT_NE(message({{"m", 1, 1, 1, true}}).find("no magnitude of 'm'"), std::string::npos);
  EXPECT_NE(message({{"m", 1, 1, 1}, {"n", 1, 1, 1}}).find("no adapter of 'n'"), std::string::npos);
  EXPECT_NE(message({}).find("holds 'base_model.model.m.lora_A.weight'"), std::string::npos);
}

}  // namespace
}  // namespace sluice::format
