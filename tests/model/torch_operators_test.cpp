// Torch's operators, on CPU tensors, against the row kernels: the same model in both, whatever it computes.
#include "model/torch_operators.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "model/place.h"
#include "model/small_models.h"
#include "model/swiglu.h"

namespace sluice::model {
namespace {

void expect_close(const at::Tensor& a, const at::Tensor& b, const std::string& what) {
  ASSERT_EQ(a.sizes(), b.sizes()) << what;
  const double size = std::max(b.abs().max().item<double>(), 1e-3);
  EXPECT_LT((a - b).abs().max().item<double>() / size, 2e-5) << what;
}

class TorchOperators : public testing::TestWithParam<format::ModelConfig> {};
INSTANTIATE_TEST_SUITE_P(Catalog, TorchOperators, testing::ValuesIn(all_configs()), config_name);

TEST_P(TorchOperators, GiveTheLossAndGradientsOfTheKernels) {
  SmallModel by_kernels(GetParam()), by_torch(GetParam());
  const MicroBatch batch = random_batch(61, 2, 37);
  batch.labels.narrow(1, 5, 3).fill_(-100);
  const double loss = by_kernels.step(batch, 0.125F);
  const WithTorch guard;
  EXPECT_NEAR(by_torch.step(batch, 0.125F), loss, 1e-5 * loss);
  for (std::size_t c = 0; c < by_kernels.gradients.size(); ++c) {
    for (std::size_t p = 0; p < by_kernels.gradients[c].size(); ++p)
      expect_close(by_torch.gradients[c][p], by_kernels.gradients[c][p], by_torch.model.chunks[c].parameters[p].name);
  }
  const std::size_t last = by_torch.model.blocks.size() - 1;
  const Block& head = *by_torch.model.blocks[last].block;
  EXPECT_NEAR(run_evaluate(head, by_torch.tensors(last, batch)), loss, 1e-5 * loss);
}

TEST_P(TorchOperators, GiveTheSameBitsForEverySetOfSavedClasses) {
  const WithTorch guard;
  SmallModel small(GetParam());
  const MicroBatch batch = random_batch(61, 2, 19);
  small.forward(batch);
  const Block& block = *small.model.blocks[1].block;
  BlockTensors t = small.tensors(1, batch);
  t.output_gradient = at::randn_like(t.input);
  std::vector<std::vector<at::Tensor>> results;
  for (SavedMask mask = 0; mask < 1U << block.saved_classes().size(); ++mask) {
    for (const at::Tensor& gradient : t.gradients) at::Tensor(gradient).zero_();
    t.output = at::empty_like(t.input);
    t.input_gradient = t.output_gradient.clone();  // may be its memory
    BlockTensors backward = t;
    backward.output_gradient = t.input_gradient;
    run_backward(block, backward, run_forward_saving(block, t, mask));
    results.push_back({t.output, t.input_gradient});
    for (const at::Tensor& gradient : t.gradients) results.back().push_back(gradient.clone());
    for (std::size_t i = 0; i < results[0].size(); ++i)
      EXPECT_TRUE(same_bits(results.back()[i], results[0][i])) << "mask " << mask << ", result " << i;
  }
}

TEST_P(TorchOperators, GenerateAsTheKernelsDo) {
  SmallModel small(GetParam());
  const MicroBatch batch = random_batch(61, 1, 6);
  const auto generate = [&] {
    KvCache caches[2];
    at::Tensor logits;
    for (const PassPosition position : {PassPosition{0, 6}, {6, 6}}) {
      small.forward(batch);
      for (std::size_t i = 0; i < small.model.blocks.size(); ++i) {
        BlockTensors t = small.tensors(i, batch);
        t.position = position;
        if (!t.output.defined()) t.output = logits = at::empty({1, 1, small.model.vocab_size});
        KvCache cache;
        const Block& block = *small.model.blocks[i].block;
        if (const auto size = block.cache_shape(); !size.empty()) {
          KvCache& kept = caches[i - 1];
          if (!kept.keys.defined()) {
            kept.keys = at::full({1, size[0], 32, size[1]}, std::numeric_limits<float>::quiet_NaN());
            kept.values = kept.keys.clone();
          }
          cache = kept;
        }
        run_generate(block, t, cache);
      }
    }
    return logits;
  };
  const at::Tensor by_kernels = generate();
  const WithTorch guard;
  expect_close(generate(), by_kernels, "logits");
}

TEST_P(TorchOperators, ComputeSegmentBySegment) {
  SmallModel small(GetParam());
  const MicroBatch batch = random_batch(GetParam().vocab_size, 2, 21);
  small.forward(batch);
  const std::size_t last = small.model.blocks.size() - 1;
  const Block &head = *small.model.blocks[last].block, &embedding = *small.model.blocks[0].block;
  if (head.segments(Computation::Evaluate).empty()) return;
  const BlockTensors of_head = small.tensors(last, batch);
  const double loss = run_evaluate(head, of_head);
  const at::Tensor rows = small.boundaries[0].clone();
  const WithTorch guard;
  EXPECT_NEAR(run_segments(head, Computation::Evaluate, of_head), loss, 1e-5 * loss);
  small.boundaries[0].zero_();
  (void)run_segments(embedding, Computation::Forward, small.tensors(0, batch));
  EXPECT_TRUE(same_bits(small.boundaries[0], rows));
}

// Most bytes allocated at a time.
Bytes peak(const plan::ComputeTrace& trace) {
  std::map<std::int32_t, Bytes> live;
  Bytes sum = 0, most = 0;
  for (const plan::AllocationEvent& event : trace.events) {
    sum += event.bytes > 0 ? event.bytes : -live[event.id];
    live[event.id] = event.bytes;
    most = std::max(most, sum);
  }
  return most;
}

// Not event by event: operators wrap numbers into tensors, and indexing makes lists of the size of its ids.
TEST_P(TorchOperators, AreTracedOnMetaAsTheyRun) {
  constexpr Bytes kWrapped = 4096;
  const WithTorch guard;
  const Model model = make_model(GetParam());
  const auto expect_equal = [&](const plan::ComputeTrace& meta, const plan::ComputeTrace& real, const char* what) {
    EXPECT_LE(peak(meta), peak(real)) << what;
    EXPECT_GE(peak(meta) + kWrapped, peak(real)) << what;
  };
  for (const int block : {0, 1, static_cast<int>(model.blocks.size()) - 1}) {
    SCOPED_TRACE(block);
    const plan::BlockTrace meta = trace_block(model, block, {2, 33}, c10::DeviceType::Meta);
    const plan::BlockTrace real = trace_block(model, block, {2, 33}, c10::DeviceType::CPU);
    EXPECT_EQ(meta.saved_bytes, real.saved_bytes);
    ASSERT_EQ(meta.forward.size(), real.forward.size());
    for (std::size_t mask = 0; mask < meta.forward.size(); ++mask)
      expect_equal(meta.forward[mask], real.forward[mask], "forward");
    for (std::size_t mask = 0; mask < meta.backward.size(); ++mask)
      expect_equal(meta.backward[mask], real.backward[mask], "backward");
    expect_equal(meta.evaluate, real.evaluate, "evaluate");
  }
}

TEST(TorchAttention, GoesByTilesOfQueries) {
  const at::Tensor q = at::randn({1, 2100, 4, 8}), k = at::randn({1, 2100, 2, 8}), v = at::randn({1, 2100, 2, 8});
  const at::Tensor dout = at::randn({1, 2100, 4, 8});
  const AttentionResult expected = causal_attention(q, k, v);
  const AttentionGradients gradients = causal_attention_backward(dout, q, k, v, expected);
  const WithTorch guard;
  const AttentionResult result = causal_attention(q, k, v);
  expect_close(result.out, expected.out, "out");
  expect_close(result.logsumexp, expected.logsumexp, "logsumexp");
  const AttentionGradients d = causal_attention_backward(dout, q, k, v, result);
  expect_close(d.dq, gradients.dq, "dq");
  expect_close(d.dk, gradients.dk, "dk");
  expect_close(d.dv, gradients.dv, "dv");
}

TEST(TorchOperators, MultiplyBf16NumbersIntoFp32Sums) {
  const format::ModelConfig config = small_config();
  SmallModel by_kernels(make_model(config, {.compute = NumberFormat::Bf16}));
  SmallModel by_torch(make_model(config, {.compute = NumberFormat::Bf16}));
  const MicroBatch batch = random_batch(61, 2, 23);
  const double loss = by_kernels.step(batch, 0.125F);
  const WithTorch guard;
  EXPECT_NEAR(by_torch.step(batch, 0.125F), loss, 1e-3 * loss);
}

// No card is needed to plan for one.
TEST(TorchOperators, AreTracedForACard) {
  const Model model = make_model(small_config(), {.compute = NumberFormat::Bf16});
  compute_at({.device = c10::Device(c10::DeviceType::CUDA, 0), .operators = Operators::Torch});
  const plan::BlockTrace trace = trace_block(model, 1, {2, 33}, c10::DeviceType::Meta);
  compute_at({});
  int num_products = 0;
  for (const plan::OpCost& op : trace.backward[0].ops) num_products += op.kind == plan::OpClass::NarrowMatMul ? 1 : 0;
  EXPECT_GE(num_products, 12) << "three of each of four maps";
}

// What is warmed before a run, on the host, while computations are meant for a card.
TEST(TorchOperators, RunOnTheHostWhileTracesAreForACard) {
  const Model model = make_model(small_config(), {.compute = NumberFormat::Bf16});
  compute_at({.device = c10::Device(c10::DeviceType::CUDA, 0), .operators = Operators::Torch});
  for (int block = 0; block < static_cast<int>(model.blocks.size()); ++block)
    EXPECT_NO_THROW(trace_block(model, block, {2, 33}, c10::DeviceType::CPU)) << block;
  compute_at({});
}

TEST(TorchOperators, KeepWhatIsNotFiniteInItsOwnRow) {
  const at::Tensor table = at::zeros({4, 3}), ids = at::tensor({1, 9}, at::kLong), dy = at::ones({2, 3});
  dy.select(0, 1).fill_(std::numeric_limits<float>::infinity());
  torch_operators::add_rows({table, 0}, ids, dy);
  EXPECT_TRUE(same_bits(table.select(0, 1), at::ones({3})));
  EXPECT_EQ(table.sum().item<float>(), 3);
}

TEST(TorchOperators, GiveATokenWithoutTargetNoGradientWhateverItsLogitsAre) {
  const float infinity = std::numeric_limits<float>::infinity();
  const at::Tensor logits = at::tensor({infinity, 0.0F, -infinity, 1.0F, 2.0F, 3.0F}).view({2, 3});
  const SoftmaxTile tile{at::tensor({std::int64_t{kNoTarget}, std::int64_t{1}}, at::kLong),
                         at::empty({kSoftmaxValues, 2})};
  const LogitsPiece piece{logits, 0};
  torch_operators::add_to_softmax(piece, tile);
  torch_operators::softmax_gradient(piece, tile, 0.5F);
  EXPECT_TRUE(same_bits(logits[0], at::zeros({3})));
  EXPECT_NEAR(logits[1].sum().item<float>(), 0, 1e-6);
}

TEST(ComputePlace, RefusesKernelsOnOtherDevices) {
  EXPECT_ANY_THROW(compute_at({.device = c10::Device(c10::DeviceType::CUDA, 0), .operators = Operators::Kernels}));
  EXPECT_FALSE(uses_torch());
}

}  // namespace
}  // namespace sluice::model
