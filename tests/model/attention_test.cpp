// Attention against the textbook formula with whole matrices of scores, in double precision.
#include "model/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "model/attention_tiles.h"
#include "model/parallel.h"

namespace sluice::model {
namespace {

struct Shape {
  std::int64_t batch, seq_len, heads, kv_heads, dim;
};

// Relative to the largest element, or to 0.1 where all are smaller: the gradients of a single token are 0.
double difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).abs().max() / b.abs().max().clamp_min(0.1)).item<double>();
}

// q, k, v as parts of one product's rows.
struct Case {
  explicit Case(const Shape& s) {
    at::manual_seed(3);
    const at::Tensor rows = at::randn({s.batch, s.seq_len, s.heads + 2 * s.kv_heads, s.dim});
    q = rows.narrow(2, 0, s.heads);
    k = rows.narrow(2, s.heads, s.kv_heads);
    v = rows.narrow(2, s.heads + s.kv_heads, s.kv_heads);
    dout = at::randn({s.batch, s.seq_len, s.heads, s.dim});
  }
  at::Tensor q, k, v, dout;
};

// out, dq, dk, dv as [B,S,heads,d] doubles. With P the softmax of the scores: dS = P * (dP - sum(dP * P)).
std::vector<at::Tensor> textbook(const Case& c, const Shape& s) {
  const auto heads = [](const at::Tensor& x) { return x.to(at::kDouble).transpose(1, 2); };
  const std::int64_t group = s.heads / s.kv_heads;
  const auto repeated = [&](const at::Tensor& x) { return heads(x).repeat_interleave(group, 1); };
  const double scale = 1 / std::sqrt(static_cast<double>(s.dim));
  const at::Tensor q = heads(c.q), k = repeated(c.k), v = repeated(c.v), dout = heads(c.dout);
  const at::Tensor hidden = at::ones({s.seq_len, s.seq_len}, at::kBool).triu(1);
  const at::Tensor p =
      q.matmul(k.transpose(2, 3)).mul(scale).masked_fill(hidden, -std::numeric_limits<double>::infinity()).softmax(3);
  const at::Tensor dp = dout.matmul(v.transpose(2, 3));
  const at::Tensor ds = p * (dp - (dp * p).sum(3, true)) * scale;
  const auto summed = [&](const at::Tensor& x) {
    return x.view({s.batch, s.kv_heads, group, s.seq_len, s.dim}).sum(2);
  };
  const auto back = [](const at::Tensor& x) { return x.transpose(1, 2); };
  return {back(p.matmul(v)), back(ds.matmul(k)), back(summed(ds.transpose(2, 3).matmul(q))),
          back(summed(p.transpose(2, 3).matmul(dout)))};
}

std::vector<at::Tensor> ours(const Case& c) {
  const AttentionResult forward = causal_attention(c.q, c.k, c.v);
  const AttentionGradients d = causal_attention_backward(c.dout, c.q, c.k, c.v, forward);
  return {forward.out, d.dq, d.dk, d.dv};
}

// Around the borders of the tiles of queries (16 to 128) and of keys (256), groups of every kind.
const Shape kShapes[] = {{1, 1, 1, 1, 4},    {2, 17, 4, 2, 10},  {1, 128, 2, 2, 8},
                         {2, 129, 3, 1, 16}, {1, 255, 6, 2, 64}, {1, 257, 9, 3, 64},
                         {1, 700, 4, 1, 32}, {1, 300, 20, 1, 8}, {3, 64, 32, 2, 4}};

TEST(CausalAttention, GivesTheTextbookFormulaForwardsAndBack) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(std::to_string(shape.seq_len) + " tokens, " + std::to_string(shape.heads) + " heads");
    const Case c(shape);
    const auto expected = textbook(c, shape), got = ours(c);
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_LT(difference(got[i], expected[i]), 5e-6) << i;
  }
}

TEST(CausalAttention, GivesTheSameBitsForEveryNumberOfThreads) {
  const int before = at::get_num_threads();
  for (const Shape& shape : {kShapes[3], kShapes[6]}) {
    const Case c(shape);
    at::set_num_threads(1);
    const auto one = ours(c);
    for (const int threads : {2, 5}) {
      at::set_num_threads(threads);
      const auto many = ours(c);
      for (std::size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], many[i])) << threads << " " << i;
    }
  }
  at::set_num_threads(before);
}

TEST(CausalAttention, IsPricedByTheBusiestThread) {
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  EXPECT_DOUBLE_EQ(imbalance(AttentionSizes{1, 8, 3, 3, 16}.backward_units()), 4.0 / 3);
  EXPECT_DOUBLE_EQ(imbalance(AttentionSizes{2, 8, 6, 3, 16}.backward_units()), 1);
  EXPECT_DOUBLE_EQ(imbalance(AttentionSizes{1, 8, 3, 3, 16}.forward_units()), 4.0 / 3);
  at::set_num_threads(1);
  EXPECT_DOUBLE_EQ(imbalance(3), 1);
  at::set_num_threads(4);
  EXPECT_DOUBLE_EQ(imbalance(1), 4);
  at::set_num_threads(before);
}

TEST(CausalAttention, HoldsScoresThatExponentialsCannot) {
  const Case c({1, 300, 2, 1, 16});
  const at::Tensor q = c.q * 300, k = c.k.contiguous(), v = c.v.contiguous();
  const AttentionResult forward = causal_attention(q, k, v);
  EXPECT_TRUE(forward.out.isfinite().all().item<bool>());
  const AttentionGradients d = causal_attention_backward(c.dout, q, k, v, forward);
  EXPECT_TRUE(d.dq.isfinite().all().item<bool>() && d.dk.isfinite().all().item<bool>());
}

}  // namespace
}  // namespace sluice::model
