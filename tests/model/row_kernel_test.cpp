// Kernels on tensors: the same bits for every number of threads, and whole rows wherever a thread begins.
#include "model/row_kernel.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "model/cross_entropy.h"
#include "model/rms_norm.h"
#include "model/swiglu.h"

namespace sluice::model {
namespace {

double difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).abs().max() / b.abs().max()).item<double>();
}

std::vector<at::Tensor> all_kernels(std::int64_t num_rows, std::int64_t width) {
  at::manual_seed(5);
  const at::Tensor x = at::randn({num_rows, width}), w = at::randn({width}), dy = at::randn({num_rows, width});
  const NormResult norm = rms_norm(x, w, 1e-5);
  const at::Tensor dx = at::empty_like(x), dw = at::zeros({width});
  rms_norm_backward({x, norm.rstd, w}, dy, x, dx, dw);
  const at::Tensor gate = x.clone(), up = w * dy, activation = dy.clone();
  swiglu_backward_in_place(activation, gate, up);
  const at::Tensor logits = dy.clone();
  const SoftmaxTile tile{at::arange(num_rows).remainder(width), at::empty({kSoftmaxValues, num_rows})};
  const LogitsPiece piece{logits, 0};
  softmax_and_gradient({&piece, 1}, tile, 0.5F);
  const at::Tensor loss = at::full({}, add_losses(tile), at::kDouble);
  return {norm.y, norm.rstd, dx, dw, gate, up, activation, logits, loss};
}

TEST(RowKernels, GiveTheSameBitsForEveryNumberOfThreads) {
  const int before = at::get_num_threads();
  for (const std::int64_t num_rows : {1, 63, 1000}) {
    at::set_num_threads(1);
    const auto one = all_kernels(num_rows, 130);
    for (const int threads : {2, 3, 7}) {
      at::set_num_threads(threads);
      const auto many = all_kernels(num_rows, 130);
      for (std::size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], many[i])) << threads << " " << i;
    }
  }
  at::set_num_threads(before);
}

TEST(RowKernels, AgreeWithTorch) {
  const auto all = all_kernels(300, 130);
  at::manual_seed(5);
  const at::Tensor x = at::randn({300, 130}), w = at::randn({130}), dy = at::randn({300, 130});
  EXPECT_LT(difference(all[0], x * (x.square().mean(1, true) + 1e-5).rsqrt() * w), 1e-6);
  EXPECT_LT(difference(all[3], (dy * x * all[1]).sum(0)), 2e-6);
  EXPECT_LT(difference(all[6], at::silu(x) * (w * dy)), 1e-6);
  const at::Tensor targets = at::arange(300).remainder(130);
  EXPECT_NEAR(all[8].item<double>(), at::cross_entropy_loss(dy, targets, {}, at::Reduction::Sum).item<double>(), 1e-3);
  EXPECT_LT(difference(all[7], 0.5 * (dy.softmax(1) - at::one_hot(targets, 130))), 1e-6);
}

TEST(RowKernels, SumTheColumnsOfPartOfAMatrix) {
  const at::Tensor x = at::randn({777, 40}), sums = at::ones({16});
  add_column_sums(x.narrow(1, 16, 16), sums);
  EXPECT_LT(difference(sums, 1 + x.narrow(1, 16, 16).sum(0)), 1e-6);
}

}  // namespace
}  // namespace sluice::model
