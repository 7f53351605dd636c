// Block math on a device whose memory the host may not touch: whatever is not one of torch's operators dies.
#include "foreign_device/foreign_device.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "model/place.h"
#include "model/small_models.h"

namespace sluice::model {
namespace {

class On {
 public:
  explicit On(c10::Device device) { compute_at({.device = device, .operators = Operators::Torch}); }
  ~On() { compute_at({}); }
  On(const On&) = delete;
  On& operator=(const On&) = delete;
};

std::vector<format::ModelConfig> all_configs() {
  std::vector<format::ModelConfig> configs = small_configs();
  for (const format::ModelConfig& config : configs_in_pieces()) configs.push_back(config);
  return configs;
}

class ForeignDevice : public testing::TestWithParam<format::ModelConfig> {};
INSTANTIATE_TEST_SUITE_P(Catalog, ForeignDevice, testing::ValuesIn(all_configs()), [](const auto& test) {
  return test.param.model_type + (test.param.vocab_size > 1000 ? "_pieces" : "");
});

MicroBatch moved(const MicroBatch& batch, c10::Device device) {
  return {batch.input_ids.to(device), batch.labels.to(device)};
}

TEST_P(ForeignDevice, GivesTheBitsOfTheSameOperatorsOnTheCpu) {
  const MicroBatch batch = random_batch(61, 2, 21);
  batch.labels.narrow(1, 4, 2).fill_(-100);
  SmallModel here(GetParam()), there(GetParam());
  here.move_to(at::kCPU);  // apart, as they are there
  double loss = 0;
  {
    const On cpu(at::kCPU);
    loss = here.step(batch, 0.125F);
  }
  const On guard(foreign::device());
  there.move_to(foreign::device());
  EXPECT_EQ(there.step(moved(batch, foreign::device()), 0.125F), loss);
  for (std::size_t c = 0; c < here.gradients.size(); ++c) {
    for (std::size_t p = 0; p < here.gradients[c].size(); ++p) {
      ASSERT_EQ(there.gradients[c][p].device(), foreign::device());
      EXPECT_TRUE(same_bits(there.gradients[c][p].to(at::kCPU), here.gradients[c][p]))
          << here.model.chunks[c].parameters[p].name;
    }
  }
}

TEST_P(ForeignDevice, EvaluatesAndGenerates) {
  SmallModel small(GetParam());
  small.move_to(foreign::device());
  const On guard(foreign::device());
  const MicroBatch batch = moved(random_batch(61, 1, 6), foreign::device());
  small.forward(batch);
  const std::size_t last = small.model.blocks.size() - 1;
  std::vector<double> rows(1);
  BlockTensors t = small.tensors(last, batch);
  t.row_losses = rows;
  EXPECT_EQ(run_evaluate(*small.model.blocks[last].block, t), rows[0]);
  t.position = {0, 6};
  t.output = at::empty({1, 1, small.model.vocab_size}, t.input.options());
  run_generate(*small.model.blocks[last].block, t, {});
  EXPECT_TRUE(t.output.isfinite().all().item<bool>());
  const Block& layer = *small.model.blocks[1].block;
  BlockTensors of_layer = small.tensors(1, batch);
  of_layer.position = {0, 6};
  of_layer.output = at::empty_like(of_layer.input);
  const auto size = layer.cache_shape();
  const at::Tensor keys = at::zeros({1, size[0], 16, size[1]}, of_layer.input.options());
  run_generate(layer, of_layer, {keys, at::zeros_like(keys)});
  EXPECT_TRUE(at::allclose(of_layer.output.to(at::kCPU), small.boundaries[1].to(at::kCPU), 1e-4, 1e-5));
}

TEST(ForeignDevice, ShutsItsMemory) {
  const foreign::Memory memory(4096);
  EXPECT_DEATH(*reinterpret_cast<volatile char*>(memory.data()) = 1, "");
  const foreign::Access access;
  *reinterpret_cast<volatile char*>(memory.data()) = 1;
}

}  // namespace
}  // namespace sluice::model
