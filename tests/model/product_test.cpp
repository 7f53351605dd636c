// Products of bf16 numbers: against fp64 sums of the same rounded numbers in every layout that blocks use; linear maps
// with their gradients against torch's autograd around rounded products, as autocast makes them; whole models against
// the classes of transformers, within what bf16 rounds off.
#include "model/product.h"

#include <gtest/gtest.h>

#include "model/joined_linear.h"
#include "model/oracle_file.h"
#include "model/small_models.h"

namespace sluice::model {
namespace {

constexpr double kFp32Unit = 0x1p-24, kBf16Unit = 0x1p-8;  // largest relative error of one rounding

struct Sizes {
  std::int64_t m, k, n;
};

// A matrix that lies in memory as it is, or as its transpose, in rows that may lie apart.
at::Tensor matrix(std::int64_t rows, std::int64_t columns, bool transposed, bool apart) {
  if (transposed) return matrix(columns, rows, false, apart).t();
  return at::randn({rows, columns + (apart ? 5 : 0)}).narrow(1, apart ? 3 : 0, columns);
}

void expect_sum(const at::Tensor& c, const at::Tensor& before, const at::Tensor& a, const at::Tensor& b, double scale) {
  const at::Tensor a64 = a.to(at::kDouble), b64 = b.to(at::kDouble), c64 = before.to(at::kDouble);
  const at::Tensor expected = c64 + scale * a64.mm(b64);
  const at::Tensor magnitude = c64.abs() + std::abs(scale) * a64.abs().mm(b64.abs());
  const double roundings = static_cast<double>(a.size(1)) + 3;
  EXPECT_TRUE(((c.to(at::kDouble) - expected).abs() <= roundings * kFp32Unit * magnitude).all().item<bool>());
}

class NarrowProducts : public testing::TestWithParam<at::ScalarType> {};

TEST_P(NarrowProducts, AreSumsInFp32InEveryLayout) {
  for (const Sizes& s : {Sizes{1, 1, 1}, {1, 64, 48}, {5, 7, 3}, {64, 33, 17}, {130, 257, 96}, {9, 1, 300}}) {
    for (int layout = 0; layout < 16; ++layout) {
      SCOPED_TRACE(std::to_string(s.m) + " x " + std::to_string(s.k) + " x " + std::to_string(s.n) + " layout " +
                   std::to_string(layout));
      const bool apart = (layout & 8) != 0;
      const at::Tensor a = matrix(s.m, s.k, (layout & 1) != 0, apart).to(GetParam());
      const at::Tensor b = matrix(s.k, s.n, (layout & 2) != 0, apart).to(GetParam());
      const at::Tensor c = matrix(s.m, s.n, (layout & 4) != 0, apart);
      const at::Tensor before = c.clone(), zeros = at::zeros_like(before);
      add_product(c, a, b, -0.75);
      expect_sum(c, before, a, b, -0.75);
      product_out(c, a, b);
      expect_sum(c, zeros, a, b, 1);
      expect_sum(product(a, b), zeros, a, b, 1);
      EXPECT_TRUE(same_bits(product(a, b), product(a, b)));
      const at::Tensor row = at::randn({s.n});
      expect_sum(product_plus(row, a, b), row.expand({s.m, s.n}), a, b, 1);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, NarrowProducts, testing::Values(at::kBFloat16, at::kHalf),
                         [](const auto& type) { return std::string(at::toString(type.param)); });

TEST(NarrowProduct, TakesColumnsOfAWiderMatrixAsTheyLie) {
  const at::Tensor wide = at::randn({20, 30}).to(at::kBFloat16), b = at::randn({7, 11}).to(at::kBFloat16);
  const at::Tensor columns = wide.narrow(1, 9, 7);
  EXPECT_TRUE(same_bits(product(columns, b), product(columns.contiguous(), b)));
  EXPECT_TRUE(same_bits(product(b.t(), columns.t()), product(b.t().contiguous(), columns.t().contiguous())));
}

TEST(ProductInput, IsTheTensorItselfOrRoundsToTheNearestEvenBf16) {
  const at::Tensor x = at::tensor({1.0F, 1.00390625F, 1.01171875F, -1.004F, 3e38F}).view({1, 5});
  EXPECT_TRUE(product_input(x, NumberFormat::Fp32).is_same(x));
  const at::Tensor rounded = product_input(x, NumberFormat::Bf16);
  EXPECT_EQ(rounded.scalar_type(), at::kBFloat16);
  const at::Tensor expected = at::tensor({1.0F, 1.0F, 1.015625F, -1.0078125F}).view({1, 4});
  EXPECT_TRUE(same_bits(rounded.to(at::kFloat).narrow(1, 0, 4), expected));
  EXPECT_TRUE(product_input(at::randn({4, 9}).narrow(1, 2, 3), NumberFormat::Bf16).is_contiguous());
}

// x as a product takes it, for autograd no change.
at::Tensor rounded(const at::Tensor& x) { return x + (x.to(at::kBFloat16).to(at::kDouble) - x).detach(); }

// x w^T of rounded numbers, whose backward rounds the gradient that it is given.
at::Tensor autocast_product(const at::Tensor& x, const at::Tensor& w) {
  at::Tensor y = at::mm(rounded(x), rounded(w).t());
  y.register_hook([](const at::Tensor& gradient) { return gradient.to(at::kBFloat16).to(at::kDouble); });
  return y;
}

at::Tensor leaf(const at::Tensor& x) { return x.to(at::kDouble).requires_grad_(); }

// Three maps of one input, one after the other in memory; the second has an adapter.
struct MapsCase {
  explicit MapsCase(bool adapted) : weights(at::randn({55, 40})), gradients(at::zeros({55, 40})) {
    std::int64_t row = 0;
    for (const std::int64_t out : {32, 16, 7}) {
      p.push_back({weights.narrow(0, row, out), at::randn({out}), {}, NumberFormat::Bf16});
      g.push_back({gradients.narrow(0, row, out), at::zeros({out})});
      row += out;
    }
    if (!adapted) return;
    p[1].adapter = {at::randn({3, 40}), at::randn({16, 3}), {}, 0.5};
    g[1].adapter = {at::zeros({3, 40}), at::zeros({16, 3}), {}, 0};
  }

  // The same by autograd; returns y, and leaves gradients in the leaves.
  at::Tensor reference(const at::Tensor& x64) {
    std::vector<at::Tensor> ys;
    for (const Linear& part : p) {
      leaves.push_back(leaf(part.weight));
      biases.push_back(leaf(part.bias));
      at::Tensor y = autocast_product(x64, leaves.back());
      if (part.adapter.a.defined()) {
        a = leaf(part.adapter.a);
        b = leaf(part.adapter.b);
        y = y + part.adapter.scale * autocast_product(autocast_product(x64, a), b);
      }
      ys.push_back(y + biases.back());
    }
    return at::cat(ys, 1);
  }

  at::Tensor weights, gradients;
  JoinedLinear p, g;
  std::vector<at::Tensor> leaves, biases;
  at::Tensor a, b;
};

double error(const at::Tensor& ours, const at::Tensor& expected) {
  return difference(ours.to(at::kDouble), expected.detach());
}

TEST(NarrowLinear, GivesAutocastsResultsAndGradientsSummedInFp32) {
  for (const bool adapted : {false, true}) {
    SCOPED_TRACE(adapted);
    MapsCase c(adapted);
    // Inside an adapter numbers are rounded that fp32 and fp64 may round differently.
    const double bound = adapted ? 2 * kBf16Unit : 50 * kFp32Unit;
    const at::Tensor x = at::randn({90, 40}), dy = at::randn({90, 55}), x64 = leaf(x);
    const at::Tensor expected = c.reference(x64);
    expected.backward(dy.to(at::kDouble));
    const at::Tensor y = joined_linear(c.p, x);
    EXPECT_LT(error(y, expected), bound);
    EXPECT_GT(difference(y.narrow(1, 0, 32), at::addmm(c.p[0].bias, x, c.p[0].weight.t())), kBf16Unit / 32) << "fp32";
    const OutputGradient d = make_output_gradient(c.p, dy);
    EXPECT_LT(error(joined_backward(c.p, d), x64.grad()), bound);
    add_joined_gradients(c.p, c.g, d, x);
    EXPECT_LT(error(linear(c.p[1], x), expected.narrow(1, 32, 16)), bound);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_LT(error(c.g[i].weight, c.leaves[i].grad()), 200 * kFp32Unit) << i;
      EXPECT_LT(error(c.g[i].bias, c.biases[i].grad()), 200 * kFp32Unit) << i << ": sums of what was not rounded";
    }
    if (!adapted) continue;
    EXPECT_LT(error(c.g[1].adapter.a, c.a.grad()), bound);
    EXPECT_LT(error(c.g[1].adapter.b, c.b.grad()), bound);
  }
}

class NarrowModel : public testing::TestWithParam<const char*> {};

double relative_norm(const at::Tensor& error, const at::Tensor& of) {
  return (error.norm() / of.norm().clamp_min(1e-6)).item<double>();
}

// Some tens of roundings lie between an input and a gradient.
TEST_P(NarrowModel, StaysWithinTheRoundingOfBf16OfTransformers) {
  constexpr double kBound = 16 * kBf16Unit;
  const Oracle oracle = read_oracle(GetParam());
  SmallModel small(make_model(oracle.config, {.compute = NumberFormat::Bf16}));
  for (std::size_t c = 0; c < small.model.chunks.size(); ++c) {
    for (std::size_t i = 0; i < small.parameters[c].size(); ++i)
      small.parameters[c][i].copy_(oracle.tensors.at("parameter." + small.model.chunks[c].parameters[i].name));
  }
  const MicroBatch batch{oracle.tensors.at("input_ids"), oracle.tensors.at("labels")};
  const auto num_targets = (batch.labels.narrow(1, 1, batch.labels.size(1) - 1) != -100).sum().item<std::int64_t>();
  const double loss = small.step(batch, 1.0F / static_cast<float>(num_targets)) / static_cast<double>(num_targets);
  const double expected = oracle.tensors.at("loss").item<double>();
  EXPECT_LT(std::abs(loss / expected - 1), 2 * kBf16Unit);
  EXPECT_NE(loss, expected);
  const auto& head = dynamic_cast<const LossBlock&>(*small.model.blocks.back().block);
  const BlockTensors t = small.tensors(small.model.blocks.size() - 1, batch);
  EXPECT_LT(difference(head.logits(t.parameters, t.input), oracle.tensors.at("logits")), kBound);
  for (std::size_t c = 0; c < small.model.chunks.size(); ++c) {
    for (std::size_t i = 0; i < small.parameters[c].size(); ++i) {
      const std::string& name = small.model.chunks[c].parameters[i].name;
      const at::Tensor& gradient = oracle.tensors.at("gradient." + name);
      EXPECT_LT(relative_norm(small.gradients[c][i] - gradient, gradient), kBound) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, NarrowModel,
                         testing::Values("llama_gqa_tied", "llama_mha_untied_linear_rope", "llama_biases",
                                         "gpt2_tied"));

}  // namespace
}  // namespace sluice::model
