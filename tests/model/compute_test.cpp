#include "model/compute.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "model/cpu_allocator.h"
#include "model/small_models.h"
#include "model/vocabulary.h"

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

TEST_P(Family, GivesInEvaluationTheLossOfEachRow) {
  SmallModel small(GetParam());
  const std::size_t last = small.model.blocks.size() - 1;
  const Block& head = *small.model.blocks[last].block;
  const auto evaluate = [&](const MicroBatch& batch, std::span<double> row_losses) {
    small.forward(batch);
    BlockTensors t = small.tensors(last, batch);
    t.row_losses = row_losses;
    return run_evaluate(head, t);
  };
  const MicroBatch batch = random_batch(61, 3, 14);
  batch.labels.select(0, 1).fill_(-100);
  std::vector<double> losses(3, 0.0);
  const double sum = evaluate(batch, losses);
  EXPECT_NEAR(sum, losses[0] + losses[2], 1e-9);
  EXPECT_EQ(losses[1], 0);
  for (std::int64_t row = 0; row < 3; ++row) {
    const MicroBatch alone{batch.input_ids.narrow(0, row, 1), batch.labels.narrow(0, row, 1)};
    const double loss = losses[static_cast<std::size_t>(row)];
    EXPECT_NEAR(evaluate(alone, {}), loss, 1e-5 * loss) << row;
  }
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

TEST(VocabularyPieces, CoverTheVocabularyInOrderAndFollowFromShapes) {
  format::ModelConfig config = small_config();
  struct Case {
    std::int64_t vocab_size, width, layer_elements;
    std::size_t count;
  };
  for (const Case& c : {Case{61, 16, 10, 1},
                        {70001, 128, 10, 2},
                        {49152, 576, 3540096, 4},
                        {128256, 4096, 218112000, 3},
                        {256000, 2048, 1000, 8},
                        {32000, 8192, 809517056, 1}}) {
    config.vocab_size = c.vocab_size;
    config.hidden_size = c.width;
    const std::vector<VocabularyPiece> pieces = vocabulary_pieces(config, {{"layer", {c.layer_elements}}});
    EXPECT_EQ(pieces.size(), c.count);
    std::int64_t next = 0;
    for (const VocabularyPiece& piece : pieces) {
      EXPECT_EQ(piece.first_row, next);
      EXPECT_GT(piece.num_rows, 0);
      next += piece.num_rows;
    }
    EXPECT_EQ(next, c.vocab_size);
  }
}

class InPieces : public testing::TestWithParam<format::ModelConfig> {};
INSTANTIATE_TEST_SUITE_P(Catalog, InPieces, testing::ValuesIn(configs_in_pieces()),
                         [](const auto& test) { return test.param.model_type; });

// Loss, gradients of norm and table, gradient of the input.
struct HeadResults {
  double loss = 0;
  std::vector<at::Tensor> tensors;
};

HeadResults head_results(const SmallModel& small, const MicroBatch& batch, bool in_segments) {
  const std::size_t last = small.model.blocks.size() - 1;
  BlockTensors t = small.tensors(last, batch);
  for (at::Tensor& gradient : t.gradients) gradient = at::full_like(gradient, 0.25F);
  t.input_gradient = at::empty_like(t.input);
  t.scale = 0.5F;
  const Block& head = *small.model.blocks[last].block;
  HeadResults results;
  results.loss = in_segments ? run_segments(head, Computation::Backward, t) : run_backward(head, t);
  results.tensors = t.gradients;
  results.tensors.push_back(t.input_gradient);
  return results;
}

TEST_P(InPieces, TheHeadGivesTheSameBitsWholeAndInSegments) {
  for (const auto& [compute, seq_len] :
       {std::pair{NumberFormat::Fp32, 150}, {NumberFormat::Fp32, 1}, {NumberFormat::Bf16, 150}}) {
    SmallModel small(make_model(GetParam(), {.compute = compute}));
    const MicroBatch batch = random_batch(70001, 2, seq_len);  // two tiles, and nothing to predict
    batch.labels.narrow(1, seq_len / 2, 1).fill_(-100);
    small.forward(batch);
    const HeadResults whole = head_results(small, batch, false), parts = head_results(small, batch, true);
    EXPECT_EQ(whole.loss, parts.loss);
    expect_same(whole.tensors, parts.tensors);
    const Block& head = *small.model.blocks.back().block;
    const BlockTensors t = small.tensors(small.model.blocks.size() - 1, batch);
    EXPECT_EQ(run_evaluate(head, t), whole.loss);
    EXPECT_EQ(run_segments(head, Computation::Evaluate, t), whole.loss);
  }
}

TEST(LossHead, PiecesOfTheVocabularyGiveTheGradientOfTheWhole) {
  const format::ModelConfig config = configs_in_pieces()[0];
  SmallModel small(config);
  const MicroBatch batch = random_batch(config.vocab_size, 2, 150);
  small.forward(batch);
  const BlockTensors t = small.tensors(small.model.blocks.size() - 1, batch);
  ASSERT_EQ(t.parameters.size(), 3U);
  at::Tensor x = t.input.detach().clone().requires_grad_();
  at::Tensor w = at::cat({t.parameters[1], t.parameters[2]}).requires_grad_();
  const at::Tensor n = x * (x.pow(2).mean(-1, true) + config.rms_norm_eps).rsqrt() * t.parameters[0];
  const at::Tensor logits = at::matmul(n, w.t()).narrow(1, 0, 149).reshape({-1, config.vocab_size});
  const at::Tensor expected =
      at::cross_entropy_loss(logits, batch.labels.narrow(1, 1, 149).reshape({-1}), {}, at::Reduction::Sum);
  (expected * 0.5).backward();
  const HeadResults ours = head_results(small, batch, true);
  EXPECT_NEAR(ours.loss / expected.item<double>(), 1, 1e-6);
  EXPECT_TRUE(at::allclose(at::cat({ours.tensors[1], ours.tensors[2]}) - 0.25, w.grad(), 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(ours.tensors.back(), x.grad(), 1e-4, 1e-5));
  const auto& head = dynamic_cast<const LossBlock&>(*small.model.blocks.back().block);
  EXPECT_TRUE(at::allclose(head.logits(t.parameters, t.input).narrow(1, 0, 149).reshape({-1, config.vocab_size}),
                           logits, 1e-4, 1e-4));
}

TEST_P(InPieces, ThePassOfGenerationGivesTheSameBitsWholeAndInSegments) {
  SmallModel small(GetParam());
  const MicroBatch batch = random_batch(70001, 1, 8);
  small.forward(batch);
  for (const std::size_t block : {std::size_t{0}, small.model.blocks.size() - 1}) {
    BlockTensors t = small.tensors(block, batch);
    t.position = {3, 6};
    t.output = block == 0 ? at::empty({1, 8, 128}) : at::empty({1, 1, 70001});
    run_generate(*small.model.blocks[block].block, t, {});
    const at::Tensor whole = t.output.clone();
    t.output.zero_();
    run_segments(*small.model.blocks[block].block, Computation::Generate, t);
    EXPECT_TRUE(same_bits(t.output, whole)) << block;
  }
}

TEST_P(InPieces, TheEmbeddingIsThatOfOneTable) {
  SmallModel small(GetParam());
  const MicroBatch batch = random_batch(70001, 3, 40);
  small.forward(batch);
  const Block& embedding = *small.model.blocks[0].block;
  BlockTensors t = small.tensors(0, batch);
  const at::Tensor ids = batch.input_ids.reshape({-1}), table = at::cat({t.parameters[0], t.parameters[1]});
  at::Tensor rows = table.index_select(0, ids).view({3, 40, 128});
  if (t.parameters.size() == 3) rows += t.parameters[2].narrow(0, 0, 40);
  EXPECT_TRUE(same_bits(small.boundaries[0], rows));
  t.output = at::empty_like(rows);
  run_segments(embedding, Computation::Forward, t);
  EXPECT_TRUE(same_bits(t.output, rows));

  t.output_gradient = at::randn({3, 40, 128});
  run_backward(embedding, t);
  const at::Tensor expected = at::zeros_like(table).index_add_(0, ids, t.output_gradient.view({-1, 128}));
  EXPECT_TRUE(same_bits(at::cat({t.gradients[0], t.gradients[1]}), expected));
  const std::vector<at::Tensor> whole = t.gradients;
  for (at::Tensor& gradient : t.gradients) gradient = at::zeros_like(gradient);
  run_segments(embedding, Computation::Backward, t);
  expect_same(t.gradients, whole);
}

TEST(CheckBatch, RefusesATokenOrLabelBeyondTheVocabulary) {
  const at::Tensor ids = at::tensor({0, 60, 5}, at::kLong).view({1, 3}), ignored = at::full({1, 3}, -100, at::kLong);
  EXPECT_NO_THROW(check_batch({ids, ignored}, 61));
  EXPECT_NO_THROW(check_batch({ids, {}}, 61));
  EXPECT_THROW(check_batch({ids, ids}, 60), InternalError);
  EXPECT_THROW(check_batch({ignored, ids}, 61), InternalError);
  EXPECT_THROW(check_batch({ids, at::full({1, 3}, -1, at::kLong)}, 61), InternalError);
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
