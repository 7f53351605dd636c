// Block math on a device whose memory the host may not touch: whatever is not one of torch's operators dies.
#include "foreign_device/foreign_device.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "model/adapt.h"
#include "model/small_models.h"

namespace sluice::model {
namespace {

class ForeignDevice : public testing::TestWithParam<format::ModelConfig> {};
INSTANTIATE_TEST_SUITE_P(Catalog, ForeignDevice, testing::ValuesIn(all_configs()), config_name);

MicroBatch moved(const MicroBatch& batch, c10::Device device) {
  return {batch.input_ids.to(device), batch.labels.to(device)};
}

enum class Variant { Plain, Lora, Dora, Bf16 };

Model make_variant(const format::ModelConfig& config, Variant variant) {
  const NumberFormat compute = variant == Variant::Bf16 ? NumberFormat::Bf16 : NumberFormat::Fp32;
  Model model = make_model(config, {.compute = compute});
  if (variant == Variant::Lora || variant == Variant::Dora)
    (void)add_adapters(model, {.rank = 2, .alpha = 4, .dora = variant == Variant::Dora, .targets = {"all-linear"}});
  return model;
}

void expect_same_gradients(const SmallModel& there, const SmallModel& here) {
  for (std::size_t c = 0; c < here.gradients.size(); ++c) {
    for (std::size_t p = 0; p < here.gradients[c].size(); ++p) {
      const at::Tensor &found = there.gradients[c][p], &expected = here.gradients[c][p];
      ASSERT_EQ(found.defined(), expected.defined());
      if (!found.defined()) continue;
      ASSERT_EQ(found.device(), foreign::device());
      EXPECT_TRUE(same_bits(found.to(at::kCPU), expected)) << here.model.chunks[c].parameters[p].name;
    }
  }
}

TEST_P(ForeignDevice, GivesTheBitsOfTheSameOperatorsOnTheCpu) {
  const MicroBatch batch = random_batch(61, 2, 21);
  batch.labels.narrow(1, 4, 2).fill_(-100);
  const bool in_pieces = GetParam().vocab_size > 1000;  // of the ends, which no variant changes
  for (const Variant variant : {Variant::Plain, Variant::Lora, Variant::Dora, Variant::Bf16}) {
    if (in_pieces && variant != Variant::Plain) continue;
    SCOPED_TRACE(static_cast<int>(variant));
    SmallModel here(make_variant(GetParam(), variant)), there(make_variant(GetParam(), variant));
    here.move_to(at::kCPU);  // apart, as they are there
    double loss = 0;
    {
      const WithTorch cpu;
      loss = here.step(batch, 0.125F);
    }
    const WithTorch guard(foreign::device());
    there.move_to(foreign::device());
    EXPECT_EQ(there.step(moved(batch, foreign::device()), 0.125F), loss);
    expect_same_gradients(there, here);
  }
}

TEST_P(ForeignDevice, GivesTheSameBitsForEverySetOfSavedClasses) {
  SmallModel small(GetParam());
  small.move_to(foreign::device());
  const WithTorch guard(foreign::device());
  const MicroBatch batch = moved(random_batch(61, 2, 19), foreign::device());
  small.forward(batch);
  const Block& block = *small.model.blocks[1].block;
  BlockTensors t = small.tensors(1, batch);
  t.output_gradient = at::ones_like(t.input);
  at::Tensor expected;
  for (SavedMask mask = 0; mask < 1U << block.saved_classes().size(); ++mask) {
    t.output = at::empty_like(t.input);
    t.input_gradient = at::empty_like(t.input);
    run_backward(block, t, run_forward_saving(block, t, mask));
    if (!expected.defined()) expected = t.input_gradient.to(at::kCPU);
    EXPECT_TRUE(same_bits(t.input_gradient.to(at::kCPU), expected)) << "mask " << mask;
  }
}

TEST_P(ForeignDevice, ComputesSegmentBySegment) {
  SmallModel small(GetParam());
  small.move_to(foreign::device());
  const WithTorch guard(foreign::device());
  const MicroBatch batch = moved(random_batch(GetParam().vocab_size, 2, 21), foreign::device());
  small.forward(batch);
  const std::size_t last = small.model.blocks.size() - 1;
  const Block& head = *small.model.blocks[last].block;
  if (head.segments(Computation::Evaluate).empty()) return;
  const BlockTensors of_head = small.tensors(last, batch);
  const double loss = run_evaluate(head, of_head);
  EXPECT_NEAR(run_segments(head, Computation::Evaluate, of_head), loss, 1e-5 * loss);
}

TEST_P(ForeignDevice, EvaluatesAndGenerates) {
  SmallModel small(GetParam());
  small.move_to(foreign::device());
  const WithTorch guard(foreign::device());
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
