#include "model/adapt.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "model/small_models.h"

namespace sluice::model {
namespace {

at::Tensor* find(SmallModel& small, std::vector<std::vector<at::Tensor>>& of, const std::string& name) {
  for (std::size_t c = 0; c < small.model.chunks.size(); ++c) {
    for (std::size_t i = 0; i < of[c].size(); ++i) {
      if (small.model.chunks[c].parameters[i].name == name) return &of[c][i];
    }
  }
  return nullptr;
}

class Adapt : public testing::TestWithParam<format::ModelConfig> {};
INSTANTIATE_TEST_SUITE_P(Catalog, Adapt, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.model_type; });

TEST_P(Adapt, FreezingSplitsBlocksAndLeavesTheOtherGradientsAsTheyAre) {
  const bool is_gpt2 = GetParam().model_type == "gpt2";
  const std::vector<std::string> patterns = {is_gpt2 ? "*.c_attn.weight" : "*.q_proj.weight", "*.0.mlp.*"};
  Model model = make_model(GetParam());
  const std::size_t num_chunks = model.chunks.size();
  freeze(model, patterns);
  EXPECT_EQ(model.chunks.size(), num_chunks + 2);
  SmallModel part(std::move(model)), whole(GetParam());
  const MicroBatch batch = random_batch(61, 2, 13);
  EXPECT_NEAR(part.step(batch, 1), whole.step(batch, 1), 1e-4);
  int num_frozen = 0;
  for (std::size_t c = 0; c < whole.model.chunks.size(); ++c) {
    for (std::size_t i = 0; i < whole.gradients[c].size(); ++i) {
      const std::string& name = whole.model.chunks[c].parameters[i].name;
      const at::Tensor& gradient = *find(part, part.gradients, name);
      const bool frozen = name.find(is_gpt2 ? ".c_attn.weight" : ".q_proj.weight") != std::string::npos ||
                          name.find(".0.mlp.") != std::string::npos;
      num_frozen += frozen;
      ASSERT_EQ(gradient.defined(), !frozen) << name;
      if (!frozen) EXPECT_TRUE(at::allclose(gradient, whole.gradients[c][i], 1e-4, 1e-4)) << name;
    }
  }
  EXPECT_GT(num_frozen, 4);
}

TEST_P(Adapt, AnAdapterBeginsAsNothing) {
  Model model = make_model(GetParam());
  const auto adapted = add_adapters(model, {.rank = 2, .targets = {"all-linear"}});
  EXPECT_EQ(adapted.size(), GetParam().model_type == "gpt2" ? 8U : 14U);
  SmallModel with(std::move(model)), without(GetParam());
  for (const auto& module : adapted)
    find(with, with.parameters, std::string(format::kPeftPrefix) + module.name + ".lora_B.weight")->zero_();
  const MicroBatch batch = random_batch(61, 2, 13);
  EXPECT_EQ(with.step(batch, 1), without.step(batch, 1));
}

TEST_P(Adapt, TracesAreThoseOfRealTensors) {
  Model model = make_model(GetParam());
  add_adapters(model, {.rank = 2, .targets = {"all-linear"}, .rank_pattern = {{"c_fc|up_proj", 3}}});
  const BatchShape shape{2, 9};
  const auto events = [](const plan::ComputeTrace& trace) {
    std::vector<std::pair<std::int32_t, Bytes>> list;
    for (const auto& event : trace.events) list.emplace_back(event.id, event.bytes);
    return list;
  };
  const plan::BlockTrace meta = trace_block(model, 1, shape, c10::DeviceType::Meta);
  const plan::BlockTrace real = trace_block(model, 1, shape, c10::DeviceType::CPU);
  ASSERT_EQ(meta.backward.size(), real.backward.size());
  for (std::size_t mask = 0; mask < meta.backward.size(); ++mask) {
    EXPECT_EQ(events(meta.forward[mask]), events(real.forward[mask]));
    EXPECT_EQ(events(meta.backward[mask]), events(real.backward[mask]));
  }
}

TEST(Adapt, TracesBlocksApartThatTrainOtherParameters) {
  Model model = make_model(small_config());
  freeze(model, std::vector<std::string>{"model.layers.0.*"});
  const plan::StepTrace trace = trace_model(model, {2, 9});
  EXPECT_EQ(trace.traces.size(), 4U);
  EXPECT_EQ(plan::first_backward(trace), 0);
  EXPECT_LT(trace.num_trained(), trace.num_parameters());
  std::int64_t frozen = 0, trained = 0;
  for (const auto& op : trace.traces[1].backward[0].ops) frozen += op.flops;
  for (const auto& op : trace.traces[2].backward[0].ops) trained += op.flops;
  EXPECT_LT(frozen, trained);
}

std::string refusal(const format::AdapterConfig& config) {
  Model model = make_model(small_config());
  try {
    (void)add_adapters(model, config);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(Adapt, RefusesByNameWhatItCannotAdapt) {
  EXPECT_NE(refusal({.targets = {"q_prod"}}).find("no linear map is called 'q_prod'"), std::string::npos);
  EXPECT_NE(refusal({.targets = {"q_prod"}}).find("gate_proj"), std::string::npos);
  EXPECT_NE(refusal({.targets = {"q_proj", "embed_tokens"}}).find("embed_tokens is not available"), std::string::npos);
  EXPECT_NE(refusal({.rank = 17, .targets = {"q_proj"}}).find("rank"), std::string::npos);
  EXPECT_NE(refusal({.targets = {"(q_proj"}}).find("not a regular expression"), std::string::npos);
  EXPECT_EQ(refusal({.targets = {R"(.*layers\.1\..*(q|v)_proj)"}}), "");
}

TEST(Adapt, RefusesToFreezeNothingOrEverything) {
  const auto refused = [](const std::string& pattern) {
    Model model = make_model(small_config());
    try {
      freeze(model, std::vector<std::string>{pattern});
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(refused("model.layer.*").find("'model.layer.*' matches no parameter"), std::string::npos);
  EXPECT_NE(refused("*").find("nothing is left to train"), std::string::npos);
}

}  // namespace
}  // namespace sluice::model
