#include "model/compute.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "model/cpu_allocator.h"
#include "model/small_models.h"

namespace sluice::model {
namespace {

// Tensors of layer 1 of a small model with a random input and dY.
struct LayerCase {
  SmallModel small;
  MicroBatch batch = random_batch(61, 2, 19);
  BlockTensors t;
  explicit LayerCase(const format::ModelConfig& config = small_config()) : small(config) {
    small.forward(batch);
    t = small.tensors(1, batch);
    t.output = at::empty_like(t.input);
    t.output_gradient = at::randn_like(t.input);
    t.input_gradient = at::empty_like(t.input);
    clear();
  }
  void clear() {
    for (auto& gradient : t.gradients) gradient.zero_();
  }
  std::vector<at::Tensor> results() const {
    std::vector<at::Tensor> all{t.input_gradient.clone()};
    for (const auto& gradient : t.gradients) all.push_back(gradient.clone());
    return all;
  }
  const Block& block() const { return *small.model.blocks[1].block; }
};

void expect_same(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(same_bits(a[i], b[i])) << i;
}

class Family : public testing::TestWithParam<format::ModelConfig> {};
INSTANTIATE_TEST_SUITE_P(Catalog, Family, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.model_type; });

TEST_P(Family, GivesTheSameBitsForEverySetOfSavedClasses) {
  LayerCase c(GetParam());
  run_forward(c.block(), c.t);
  const at::Tensor plain = c.t.output.clone();
  run_backward(c.block(), c.t);
  const auto expected = c.results();
  EXPECT_GT(expected[1].abs().max().item<float>(), 0);
  const auto num_classes = static_cast<SavedMask>(c.block().saved_classes().size());
  ASSERT_GT(num_classes, 0U);
  for (SavedMask mask = 0; mask < 1U << num_classes; ++mask) {
    SCOPED_TRACE(mask);
    c.t.output.zero_();
    c.clear();
    SavedTensors saved = run_forward_saving(c.block(), c.t, mask);
    for (SavedMask i = 0; i < num_classes; ++i) EXPECT_EQ(saved[i].empty(), (mask >> i & 1U) == 0);
    EXPECT_TRUE(same_bits(c.t.output, plain));
    run_backward(c.block(), c.t, std::move(saved));
    expect_same(c.results(), expected);
  }
}

TEST_P(Family, MayPutTheInputGradientIntoTheMemoryOfTheOutputGradient) {
  LayerCase c(GetParam());
  run_backward(c.block(), c.t);
  const auto apart = c.results();
  c.clear();
  c.t.input_gradient = c.t.output_gradient;
  run_backward(c.block(), c.t);
  expect_same(c.results(), apart);
}

TEST_P(Family, AddsGradientsToWhatIsThere) {
  SmallModel once(GetParam()), twice(GetParam());
  const MicroBatch a = random_batch(61, 2, 11), b = random_batch(61, 2, 11);
  once.step(a, 0.125F);
  std::vector<at::Tensor> first;
  for (const auto& chunk : once.gradients) {
    for (const auto& gradient : chunk) first.push_back(gradient.clone());
  }
  once.step(b, 0.125F);
  twice.step(a, 0.125F);
  twice.step(b, 0.125F);
  SmallModel alone(GetParam());
  alone.step(b, 0.125F);
  std::size_t i = 0;
  for (std::size_t c = 0; c < once.gradients.size(); ++c) {
    for (std::size_t p = 0; p < once.gradients[c].size(); ++p, ++i) {
      EXPECT_TRUE(same_bits(once.gradients[c][p], twice.gradients[c][p]));
      EXPECT_TRUE(at::allclose(once.gradients[c][p], first[i] + alone.gradients[c][p], 1e-4, 1e-6));
    }
  }
}

TEST_P(Family, LeavesOutTheGradientOfAnUntrainedParameterAlone) {
  LayerCase c(GetParam());
  run_backward(c.block(), c.t);
  auto all = c.results();
  for (std::size_t i = 0; i < c.t.gradients.size(); ++i) {
    SCOPED_TRACE(i);
    c.clear();
    const at::Tensor untouched = c.t.gradients[i];
    c.t.gradients[i] = at::Tensor();
    run_backward(c.block(), c.t);
    EXPECT_EQ(untouched.abs().max().item<float>(), 0);
    c.t.gradients[i] = all[i + 1].clone();
    expect_same(c.results(), all);
    c.t.gradients[i] = untouched;
  }
}

TEST_P(Family, GivesInEvaluationTheLossOfTraining) {
  SmallModel small(GetParam());
  const MicroBatch batch = random_batch(61, 3, 14);
  const double loss = small.step(batch, 1);
  const std::size_t last = small.model.blocks.size() - 1;
  EXPECT_EQ(run_evaluate(*small.model.blocks[last].block, small.tensors(last, batch)), loss);
}

TEST(EmbeddingBlock, GradientIsTheSameForAnyNumberOfThreads) {
  format::ModelConfig config = small_config();
  config.hidden_size = 1000;
  SmallModel small(config);
  const MicroBatch batch = random_batch(61, 4, 50);
  small.forward(batch);
  BlockTensors t = small.tensors(0, batch);
  t.output_gradient = at::randn({4, 50, 1000});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  run_backward(*small.model.blocks[0].block, t);
  const at::Tensor one = t.gradients[0].clone();
  t.gradients[0].zero_();
  at::set_num_threads(2);
  run_backward(*small.model.blocks[0].block, t);
  at::set_num_threads(before);
  EXPECT_TRUE(same_bits(t.gradients[0], one));
  EXPECT_TRUE(at::allclose(one.sum(0), t.output_gradient.view({-1, 1000}).sum(0), 1e-4, 1e-4));
}

TEST_P(Family, SurvivesHugeLogitsAndPositionsWithoutTarget) {
  SmallModel small(GetParam());
  MicroBatch batch = random_batch(61, 2, 9);
  for (auto& parameter : small.parameters.back()) parameter.mul_(1e4);
  const double with_all = small.step(batch, 1);
  EXPECT_TRUE(std::isfinite(with_all));
  for (const auto& chunk : small.gradients) {
    for (const auto& gradient : chunk) EXPECT_TRUE(gradient.isfinite().all().item<bool>());
  }
  batch.labels.fill_(-100);
  SmallModel none(GetParam());
  EXPECT_EQ(none.step(batch, 1), 0);
  EXPECT_EQ(none.gradients[0][0].abs().max().item<float>(), 0);
}

TEST(LossHead, TilesGiveTheGradientOfTheWhole) {
  format::ModelConfig config = small_config();
  config.vocab_size = 40001;  // tiles of 256 tokens
  SmallModel small(config);
  const MicroBatch batch = random_batch(config.vocab_size, 3, 171);  // 513 rows: the last tile has 257
  small.forward(batch);
  const std::size_t last = small.model.blocks.size() - 1;
  BlockTensors t = small.tensors(last, batch);
  t.input_gradient = at::empty_like(t.input);
  t.scale = 0.5F;
  const double loss = run_backward(*small.model.blocks[last].block, t);
  const at::Tensor x = t.input.detach().clone().requires_grad_(), w = t.parameters[1].detach().clone().requires_grad_();
  const at::Tensor n = x * (x.pow(2).mean(-1, true) + config.rms_norm_eps).rsqrt() * t.parameters[0];
  const at::Tensor logits = at::matmul(n, w.t()).narrow(1, 0, 170).reshape({-1, config.vocab_size});
  const at::Tensor expected =
      at::cross_entropy_loss(logits, batch.labels.narrow(1, 1, 170).reshape({-1}), {}, at::Reduction::Sum);
  (expected * 0.5).backward();
  EXPECT_NEAR(loss / expected.item<double>(), 1, 1e-6);
  EXPECT_TRUE(at::allclose(t.gradients[1], w.grad(), 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(t.input_gradient, x.grad(), 1e-4, 1e-5));
}

TEST(CpuAllocator, RunningOutUnwindsThroughForwardAndBackwardAndLeavesNothing) {
  LayerCase c;
  constexpr Bytes kCapacity = 4 << 20;
  std::vector<std::byte> memory(kCapacity + 64);
  auto* base = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
  install_cpu_allocator();
  run_backward(c.block(), c.t);
  const auto expected = c.results();
  use_workspace(base, kCapacity);
  c.clear();
  run_backward(c.block(), c.t);
  const Bytes peak = workspace_peak();
  EXPECT_GT(peak, 0);
  EXPECT_EQ(workspace_live(), 0);
  for (Bytes limit = 0; limit < peak; limit += round_up(peak / 40, 64)) {
    limit_workspace(limit);
    EXPECT_THROW(run_backward(c.block(), c.t), c10::OutOfMemoryError) << limit;
    EXPECT_EQ(workspace_live(), 0) << limit;
  }
  limit_workspace(peak);
  c.clear();
  run_backward(c.block(), c.t);
  EXPECT_EQ(workspace_live(), 0);
  use_workspace(nullptr, 0);
  expect_same(c.results(), expected);
}

TEST(CpuAllocator, PlacesAtTheLowestFitAndNamesTheLimitWhenFull) {
  std::vector<std::byte> memory(4096 + 64);
  auto* base = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
  install_cpu_allocator();
  use_workspace(base, 4096);
  {
    at::Tensor a = at::empty({100}, at::kByte), b = at::empty({64}, at::kByte);
    EXPECT_EQ(a.data_ptr(), base);
    EXPECT_EQ(b.data_ptr(), base + 128);
    a.reset();
    const at::Tensor c = at::empty({10}, at::kByte);
    EXPECT_EQ(c.data_ptr(), base);
    EXPECT_EQ(workspace_live(), 128);
    EXPECT_EQ(workspace_peak(), 192);
    try {
      at::empty({4096}, at::kByte);
      FAIL();
    } catch (const c10::OutOfMemoryError& error) {
      EXPECT_NE(std::string(error.what()).find("4096"), std::string::npos);
    }
    EXPECT_EQ(workspace_peak(), 192);
  }
  use_workspace(nullptr, 0);
}

}  // namespace
}  // namespace sluice::model
