// Attention by fused kernels of 16-bit numbers. There are none for the CPU, so the test registers its own under the
// kernels' names: they hold callers to the kernels' contract and compute in fp32. What they allocate on a card is what
// FlashAttention 2 allocates as torch 2.11 has it.
#include "model/fused_attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/library.h>

#include "model/place.h"
#include "model/small_models.h"
#include "model/torch_operators.h"
#include "model/trace_recorder.h"

namespace sluice::model {
namespace {

int num_forwards = 0, num_backwards = 0;
float distortion = 1;

void check_input(const at::Tensor& x, at::ScalarType type) {
  TORCH_CHECK(x.scalar_type() == type && (type == at::kBFloat16 || type == at::kHalf), "only 16 bits");
  TORCH_CHECK(x.dim() == 4 && x.is_contiguous() && x.size(3) % 8 == 0, "only [B,S,H,d] with whole vectors");
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> forward_kernel(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::optional<at::Tensor>& starts_q,
    const std::optional<at::Tensor>& starts_k, c10::SymInt longest_q, c10::SymInt longest_k, double dropout,
    bool causal, bool mask, std::optional<double> scale, std::optional<c10::SymInt>, std::optional<c10::SymInt>,
    const std::optional<at::Tensor>&, const std::optional<at::Tensor>&) {
  num_forwards += 1;
  for (const at::Tensor& x : {q, k, v}) check_input(x, q.scalar_type());
  TORCH_CHECK(!starts_q && !starts_k && longest_q == q.size(1) && longest_k == k.size(1));
  TORCH_CHECK(dropout == 0 && causal && !mask);
  TORCH_CHECK(std::abs(scale.value() * std::sqrt(static_cast<double>(q.size(3))) - 1) < 1e-12);
  const AttentionResult result =
      torch_operators::causal_attention(q.to(at::kFloat), k.to(at::kFloat), v.to(at::kFloat));
  const at::Tensor random = at::zeros({2}, at::kLong);
  return {(result.out * distortion).to(q.scalar_type()), result.logsumexp, random, random, random};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> backward_kernel(
    const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
    const at::Tensor& logsumexp, const at::Tensor& starts_q, const at::Tensor& starts_k, c10::SymInt longest_q,
    c10::SymInt longest_k, double dropout, bool causal, const at::Tensor&, const at::Tensor&,
    std::optional<double> scale, std::optional<c10::SymInt>, std::optional<c10::SymInt>) {
  num_backwards += 1;
  for (const at::Tensor& x : {dout, q, k, v, out}) check_input(x, q.scalar_type());
  TORCH_CHECK(logsumexp.scalar_type() == at::kFloat && logsumexp.is_contiguous());
  TORCH_CHECK(!starts_q.defined() && !starts_k.defined() && longest_q == q.size(1) && longest_k == k.size(1));
  TORCH_CHECK(dropout == 0 && causal && scale.has_value());
  const at::Context& context = at::globalContext();
  TORCH_CHECK(context.deterministicAlgorithms() && !context.deterministicAlgorithmsWarnOnly(), "sums without an order");
  const AttentionGradients d = torch_operators::causal_attention_backward(
      dout.to(at::kFloat), q.to(at::kFloat), k.to(at::kFloat), v.to(at::kFloat), {out.to(at::kFloat), logsumexp});
  return {d.dq.to(q.scalar_type()), d.dk.to(q.scalar_type()), d.dv.to(q.scalar_type())};
}

TORCH_LIBRARY_IMPL(aten, CPU, library) {
  library.impl("_flash_attention_forward", forward_kernel);
  library.impl("_flash_attention_backward", backward_kernel);
}

constexpr int kProcessors = 8;

class FusedAttention : public testing::Test {
 protected:
  FusedAttention() {
    num_forwards = num_backwards = 0;
    distortion = 1;
    compute_at({.operators = Operators::Torch, .fused_attention = true, .num_processors = kProcessors});
  }
  ~FusedAttention() override { compute_at({}); }

  // Heads as a layer has them: columns of one matrix.
  struct Heads {
    at::Tensor q, k, v;
  };
  static Heads heads(std::int64_t batch, std::int64_t length, std::int64_t num_heads, std::int64_t kv, std::int64_t d,
                     const at::TensorOptions& options = {}) {
    const at::Tensor rows = at::randn({batch * length, (num_heads + 2 * kv) * d}, options);
    const auto part = [&](std::int64_t first, std::int64_t count) {
      return rows.narrow(1, first * d, count * d).view({batch, length, count, d});
    };
    return {part(0, num_heads), part(num_heads, kv), part(num_heads + kv, kv)};
  }
};

void expect_near(const at::Tensor& a, const at::Tensor& b, double tolerance) {
  ASSERT_EQ(a.sizes(), b.sizes());
  EXPECT_EQ(a.scalar_type(), at::kFloat);
  EXPECT_TRUE(a.is_contiguous());
  EXPECT_LT((a - b).abs().max().item<double>() / b.abs().max().item<double>(), tolerance);
}

TEST_F(FusedAttention, GivesWhatAttentionOfFp32NumbersGivesButForRounding) {
  const auto [q, k, v] = heads(2, 130, 4, 2, 16);
  const at::Tensor dout = at::randn(q.sizes());
  const AttentionResult expected = causal_attention(q, k, v);
  const AttentionGradients right = causal_attention_backward(dout, q, k, v, expected);
  EXPECT_EQ(num_forwards + num_backwards, 0);
  for (const NumberFormat compute : {NumberFormat::Bf16, NumberFormat::Fp16}) {
    const double tolerance = compute == NumberFormat::Bf16 ? 0.02 : 0.003;
    const AttentionResult found = causal_attention(q, k, v, compute);
    const AttentionGradients d = causal_attention_backward(dout, q, k, v, found, compute);
    expect_near(found.out, expected.out, tolerance);
    expect_near(found.logsumexp, expected.logsumexp, tolerance);
    expect_near(d.dq, right.dq, tolerance);
    expect_near(d.dk, right.dk, tolerance);
    expect_near(d.dv, right.dv, tolerance);
  }
  EXPECT_EQ(num_forwards, 2);
  EXPECT_EQ(num_backwards, 2);
  EXPECT_FALSE(at::globalContext().deterministicAlgorithms());
}

TEST_F(FusedAttention, IsForEnoughRowsOfHeadsThatKernelsHave) {
  const auto takes = [](std::vector<std::int64_t> shape, NumberFormat compute = NumberFormat::Bf16) {
    return takes_fused_attention(at::empty(shape, at::kMeta), compute);
  };
  EXPECT_TRUE(takes({2, 128, 4, 64}));
  EXPECT_TRUE(takes({2, 128, 4, 64}, NumberFormat::Fp16));
  EXPECT_FALSE(takes({2, 128, 4, 64}, NumberFormat::Fp32));
  EXPECT_FALSE(takes({1, 128, 4, 64}));
  EXPECT_TRUE(takes({1, 193, 4, 256}));
  EXPECT_FALSE(takes({2, 128, 4, 60}));
  EXPECT_FALSE(takes({2, 128, 4, 264}));
  compute_at({.operators = Operators::Torch, .num_processors = kProcessors});
  EXPECT_FALSE(takes({2, 128, 4, 64}));
}

TEST_F(FusedAttention, IsTriedBeforeItIsTaken) {
  EXPECT_EQ(try_fused_attention(NumberFormat::Bf16), "");
  EXPECT_EQ(try_fused_attention(NumberFormat::Fp16), "");
  distortion = 1.2F;
  EXPECT_NE(try_fused_attention(NumberFormat::Bf16).find("off"), std::string::npos);
  distortion = 1;
  EXPECT_NE(try_fused_attention(NumberFormat::Fp32).find("only 16 bits"), std::string::npos) << "kernels may refuse";
}

// Layers take it, with activations saved or made again: the same bits.
TEST_F(FusedAttention, IsALayersWhateverItSaves) {
  format::ModelConfig config = small_config();
  config.head_dim = 8;
  config.hidden_size = 32;
  const MicroBatch batch = random_batch(61, 2, 63);
  SmallModel composed(make_model(config)), fused(make_model(config, {.compute = NumberFormat::Bf16}));
  compute_at({.operators = Operators::Torch, .fused_attention = true, .num_processors = 4});
  const double expected = composed.step(batch, 0.125F);
  EXPECT_EQ(num_forwards, 0);
  EXPECT_NEAR(fused.step(batch, 0.125F), expected, 5e-3 * expected);
  EXPECT_GT(num_forwards, 0);
  EXPECT_GT(num_backwards, 0);
}

std::vector<Bytes> allocations(const plan::ComputeTrace& trace) {
  std::vector<Bytes> found;
  for (const plan::AllocationEvent& event : trace.events) {
    if (event.bytes > 0) found.push_back(event.bytes);
  }
  return found;
}

TEST_F(FusedAttention, IsTracedWithTheMemoryThatKernelsTake) {
  install_cpu_allocator();
  const auto [q, k, v] = heads(2, 200, 6, 2, 80, at::kMeta);
  const at::Tensor dout = at::empty(q.sizes(), q.options());
  TraceRecorder recorder;
  AttentionResult result;
  const plan::ComputeTrace forward = recorder.record([&] { result = causal_attention(q, k, v, NumberFormat::Bf16); });
  const Bytes queries = Bytes{2} * 200 * 6 * 80, keys = Bytes{2} * 200 * 2 * 80, statistics = Bytes{2} * 6 * 200 * 4;
  EXPECT_EQ(allocations(forward),
            (std::vector<Bytes>{2 * queries, 2 * keys, 2 * keys, 2 * queries, round_up(statistics, 64), 4 * queries}));
  const plan::ComputeTrace backward =
      recorder.record([&] { (void)causal_attention_backward(dout, q, k, v, result, NumberFormat::Bf16); });
  // 256 rows of 96 columns; one part of dq where there are more heads than processors.
  const Bytes products = Bytes{2} * 6 * 256 * 4, sums = Bytes{2} * 256 * 6 * 96 * 4;
  EXPECT_EQ(allocations(backward),
            (std::vector<Bytes>{2 * queries, 2 * keys, 2 * keys, 2 * queries, 2 * queries, 2 * queries, 2 * keys,
                                2 * keys, products, sums, 2 * queries, 2 * queries, 4 * queries, 4 * keys, 4 * keys}));
  ASSERT_FALSE(backward.ops.empty());
  EXPECT_EQ(backward.ops.front().kind, plan::OpClass::AttentionBackward);
}

}  // namespace
}  // namespace sluice::model
