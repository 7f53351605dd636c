// Against PEFT on the classes of transformers (tools/oracles/make_adapter_oracles.py): loss, logits, every gradient.
#include <gtest/gtest.h>

#include <algorithm>

#include "model/adapt.h"
#include "model/oracle_file.h"
#include "model/small_models.h"

namespace sluice::model {
namespace {

format::AdapterConfig adapter_of(const nlohmann::json& lora) {
  format::AdapterConfig config{
      lora["r"], lora["lora_alpha"], lora.value("use_rslora", false), lora.value("use_dora", false), {}};
  config.targets = lora["target_modules"].is_string() ? std::vector<std::string>{lora["target_modules"]}
                                                      : lora["target_modules"].get<std::vector<std::string>>();
  for (const auto& [key, value] : lora["rank_pattern"].items()) config.rank_pattern.emplace_back(key, value);
  for (const auto& [key, value] : lora["alpha_pattern"].items()) config.alpha_pattern.emplace_back(key, value);
  return config;
}

class AdapterOracle : public testing::TestWithParam<const char*> {};

TEST_P(AdapterOracle, GivesPeftsLossLogitsAndGradients) {
  const Oracle oracle = read_oracle(GetParam());
  Model model = make_model(oracle.config);
  const auto adapted = add_adapters(model, adapter_of(oracle.header["lora"]));
  SmallModel small(std::move(model));
  std::size_t num_trained = 0;
  for (std::size_t c = 0; c < small.model.chunks.size(); ++c) {
    for (std::size_t i = 0; i < small.parameters[c].size(); ++i)
      small.parameters[c][i].copy_(oracle.tensors.at("parameter." + small.model.chunks[c].parameters[i].name));
  }
  const MicroBatch batch{oracle.tensors.at("input_ids"), oracle.tensors.at("labels")};
  const auto num_targets = (batch.labels.narrow(1, 1, batch.labels.size(1) - 1) != -100).sum().item<std::int64_t>();
  const double loss = small.step(batch, 1.0F / static_cast<float>(num_targets));
  EXPECT_NEAR(loss / static_cast<double>(num_targets), oracle.tensors.at("loss").item<double>(), 1e-5);
  const auto& head = dynamic_cast<const LossBlock&>(*small.model.blocks.back().block);
  const BlockTensors t = small.tensors(small.model.blocks.size() - 1, batch);
  EXPECT_LT(difference(head.logits(t.parameters, t.input), oracle.tensors.at("logits")), 1e-5);
  for (std::size_t c = 0; c < small.model.chunks.size(); ++c) {
    for (std::size_t i = 0; i < small.parameters[c].size(); ++i) {
      const std::string& name = small.model.chunks[c].parameters[i].name;
      EXPECT_EQ(small.gradients[c][i].defined(), oracle.tensors.contains("gradient." + name)) << name;
      if (!small.gradients[c][i].defined()) continue;
      const at::Tensor& expected = oracle.tensors.at("gradient." + name);
      const double largest = expected.abs().max().item<double>();
      EXPECT_LT(difference(small.gradients[c][i], expected), 2e-5 * std::max(1.0, largest)) << name;
      ++num_trained;
    }
  }
  EXPECT_EQ(num_trained, (adapted.front().magnitude ? 3 : 2) * adapted.size());
}

INSTANTIATE_TEST_SUITE_P(Cases, AdapterOracle,
                         testing::Values("lora_llama_all_linear", "lora_llama_default_rslora", "lora_gpt2_all_linear",
                                         "dora_llama_all_linear", "dora_gpt2_rslora"));

}  // namespace
}  // namespace sluice::model
