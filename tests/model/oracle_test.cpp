// Against the classes of transformers (tools/oracles/make_model_oracles.py): loss, hidden states, every gradient.
#include <gtest/gtest.h>

#include <string>

#include "model/oracle_file.h"
#include "model/small_models.h"

namespace sluice::model {
namespace {

class ModelOracle : public testing::TestWithParam<const char*> {};

TEST_P(ModelOracle, GivesTransformersLossHiddenStatesAndGradients) {
  const Oracle oracle = read_oracle(GetParam());
  SmallModel small(oracle.config);
  for (std::size_t c = 0; c < small.model.chunks.size(); ++c) {
    for (std::size_t i = 0; i < small.parameters[c].size(); ++i) {
      small.parameters[c][i].copy_(oracle.tensors.at("parameter." + small.model.chunks[c].parameters[i].name));
    }
  }
  const MicroBatch batch{oracle.tensors.at("input_ids"), oracle.tensors.at("labels")};
  const auto num_targets = (batch.labels.narrow(1, 1, batch.labels.size(1) - 1) != -100).sum().item<std::int64_t>();
  const double loss = small.step(batch, 1.0F / static_cast<float>(num_targets));
  EXPECT_NEAR(loss / static_cast<double>(num_targets), oracle.tensors.at("loss").item<double>(), 1e-5);
  for (std::size_t i = 0; i + 1 < small.boundaries.size(); ++i) {
    EXPECT_LT(difference(small.boundaries[i], oracle.tensors.at("hidden." + std::to_string(i))), 1e-5) << i;
  }
  const auto& head = dynamic_cast<const LossBlock&>(*small.model.blocks.back().block);
  const BlockTensors t = small.tensors(small.model.blocks.size() - 1, batch);
  EXPECT_LT(difference(head.logits(t.parameters, t.input), oracle.tensors.at("logits")), 1e-5);
  for (std::size_t c = 0; c < small.model.chunks.size(); ++c) {
    for (std::size_t i = 0; i < small.parameters[c].size(); ++i) {
      const std::string& name = small.model.chunks[c].parameters[i].name;
      EXPECT_LT(difference(small.gradients[c][i], oracle.tensors.at("gradient." + name)), 1e-5) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, ModelOracle,
                         testing::Values("llama_gqa_tied", "llama_mha_untied_linear_rope", "llama_gqa_llama3_rope",
                                         "llama_biases", "gpt2_tied", "gpt2_untied_exact_gelu", "gpt2_one_head"));

class Decode : public testing::TestWithParam<format::ModelConfig> {};

TEST_P(Decode, TokenByTokenLogitsEqualTheFullForward) {
  for (const std::int64_t prefill : {1, 4}) {
    SmallModel small(GetParam());
    const MicroBatch batch = random_batch(61, 2, 9);
    small.forward(batch);
    const std::size_t last = small.model.blocks.size() - 1;
    const auto& head = dynamic_cast<const LossBlock&>(*small.model.blocks[last].block);
    const BlockTensors t = small.tensors(last, batch);
    const at::Tensor expected = head.logits(t.parameters, t.input);

    std::vector<KvCache> caches(last);
    for (std::size_t b = 0; b < last; ++b) {
      const auto shape = small.model.blocks[b].block->cache_shape();
      if (!shape.empty()) caches[b] = {at::zeros({2, shape[0], 12, shape[1]}), at::zeros({2, shape[0], 12, shape[1]})};
    }
    // First `prefill` tokens at once, then one, then two at a time.
    for (std::int64_t position = 0, n = prefill; position < 9; position += n, n = position % 2 == 0 ? 1 : 2) {
      n = position == 0 ? prefill : std::min(n, 9 - position);
      const MicroBatch tokens{batch.input_ids.narrow(1, position, n), {}};
      at::Tensor x;
      for (std::size_t b = 0; b < last; ++b) {
        x = small.model.blocks[b].block->decode(small.tensors(b, batch).parameters, x, caches[b], position, tokens);
      }
      EXPECT_LT(difference(head.logits(t.parameters, x), expected.narrow(1, position, n)), 1e-4) << position;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Catalog, Decode, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.model_type; });

TEST(EmbeddingBlock, FillsAPassUpBeyondTheLastPosition) {
  const format::ModelConfig config = small_gpt2_config();
  SmallModel small(config);
  const MicroBatch batch = random_batch(61, 1, 8);
  small.forward(batch);
  const Block& embedding = *small.model.blocks[0].block;
  const std::vector<at::Tensor> parameters = small.tensors(0, batch).parameters;
  const at::Tensor rows = embedding.decode(parameters, {}, {}, config.max_position_embeddings - 3, batch);
  const at::Tensor expected =
      parameters[0].index({batch.input_ids[0].narrow(0, 0, 3)}) + parameters[1].narrow(0, 61, 3);
  EXPECT_TRUE(at::equal(rows[0].narrow(0, 0, 3), expected));
}

}  // namespace
}  // namespace sluice::model
