#include "model/joined_linear.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace sluice::model {
namespace {

double difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).abs().max() / b.abs().max()).item<double>();
}

// Three maps of 5 inputs to 32, 16 and 7 results, neighbours in memory or apart.
JoinedLinear maps(const at::Tensor& memory, bool neighbours, bool has_bias) {
  JoinedLinear p;
  std::int64_t row = 0;
  for (const std::int64_t out : {32, 16, 7}) {
    const at::Tensor weight = memory.narrow(0, row, out);
    p.push_back({neighbours ? weight : weight.clone(), has_bias ? memory.narrow(0, row, out).sum(1) : at::Tensor()});
    row += out;
  }
  return p;
}

TEST(JoinedLinear, GivesWhatTheMapsGiveOneByOne) {
  const at::Tensor memory = at::randn({55, 5}), x = at::randn({9, 5}), dy = at::randn({9, 55});
  for (const bool neighbours : {true, false}) {
    for (const bool has_bias : {true, false}) {
      const JoinedLinear p = maps(memory, neighbours, has_bias), g = maps(at::zeros({55, 5}), neighbours, has_bias);
      EXPECT_EQ(join_rows({p[0].weight, p[1].weight, p[2].weight}).defined(), neighbours);
      at::Tensor y = x.mm(memory.t());
      if (has_bias) y += memory.sum(1);
      EXPECT_LT(difference(joined_linear(p, x), y), 1e-6);
      EXPECT_LT(difference(joined_backward(p, make_output_gradient(p, dy)), dy.mm(memory)), 1e-6);
      add_joined_gradients(p, g, make_output_gradient(p, dy), x);
      const at::Tensor dw = at::cat({g[0].weight, g[1].weight, g[2].weight});
      EXPECT_LT(difference(dw, dy.t().mm(x)), 1e-6);
      if (has_bias) {
        EXPECT_LT(difference(at::cat({g[0].bias, g[1].bias, g[2].bias}), dy.sum(0)), 1e-6);
      }
    }
  }
}

TEST(JoinedLinear, LeavesOutGradientsThatAreNotWanted) {
  const at::Tensor memory = at::randn({55, 5}), x = at::randn({9, 5}), dy = at::randn({9, 55});
  JoinedLinear g = maps(at::zeros({55, 5}), true, false);
  g[1].weight.reset();
  const JoinedLinear p = maps(memory, true, false);
  add_joined_gradients(p, g, make_output_gradient(p, dy), x);
  EXPECT_LT(
      difference(at::cat({g[0].weight, g[2].weight}), at::cat({dy.narrow(1, 0, 32), dy.narrow(1, 48, 7)}, 1).t().mm(x)),
      1e-6);
}

TEST(JoinedLinear, KnowsNeighboursOnMetaByTheirStorage) {
  const at::Tensor memory = at::empty({20, 4}, at::kMeta);
  const auto rows = [&](std::int64_t first, std::int64_t count) { return memory.narrow(0, first, count); };
  EXPECT_EQ(join_rows({rows(1, 4), rows(5, 8), rows(13, 3)}).sizes(), (std::vector<std::int64_t>{15, 4}));
  EXPECT_FALSE(join_rows({rows(1, 4), rows(6, 8)}).defined());
  EXPECT_FALSE(join_rows({rows(0, 4), at::empty({4, 4}, at::kMeta)}).defined());
}

}  // namespace
}  // namespace sluice::model
