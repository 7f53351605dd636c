#include "model/cross_entropy.h"

#include <ATen/ATen.h>

#include "base/check.h"
#include "kernel/cross_entropy.h"
#include "model/row_kernel.h"

namespace sluice::model {
namespace {

void check_targets(const std::int64_t* targets, std::int64_t num_rows, std::int64_t vocab_size) {
  for (std::int64_t row = 0; row < num_rows; ++row) {
    const std::int64_t target = targets[row];
    SLUICE_CHECK(target == kNoTarget || (target >= 0 && target < vocab_size), "label ", target, " of a vocabulary of ",
                 vocab_size);
  }
}

}  // namespace

at::Tensor shifted_targets(const at::Tensor& labels_BS) {
  const std::int64_t seq_len = labels_BS.size(1);
  at::Tensor targets = at::empty(labels_BS.sizes(), labels_BS.options());
  targets.narrow(1, 0, seq_len - 1).copy_(labels_BS.narrow(1, 1, seq_len - 1));
  targets.narrow(1, seq_len - 1, 1).fill_(kNoTarget);
  return targets.view({-1});
}

void cross_entropy_tile(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& loss_sum,
                        bool with_gradient, float scale) {
  const std::int64_t num_rows = logits.size(0), width = logits.size(1);
  const at::Tensor losses = at::empty({num_rows}, loss_sum.options());
  const int passes = with_gradient ? 2 : 1;
  if (!begin_pass(logits, passes * bytes_of(logits), 20 * logits.numel())) return;
  const auto* target = targets.const_data_ptr<std::int64_t>();
  auto* loss = losses.mutable_data_ptr<double>();
  check_targets(target, num_rows, width);
  for_rows(num_rows, width, [&](std::int64_t first, std::int64_t last) {
    const kernel::CrossEntropyRows rows{.num_rows = static_cast<std::size_t>(last - first),
                                        .width = static_cast<std::size_t>(width),
                                        .logits = write_data(logits) + first * width,
                                        .targets = target + first,
                                        .losses = loss + first};
    if (with_gradient) {
      kernel::cross_entropy_gradient(rows, scale);
    } else {
      kernel::cross_entropy(rows);
    }
  });
  auto* sum = loss_sum.mutable_data_ptr<double>();
  for (std::int64_t row = 0; row < num_rows; ++row) *sum += loss[row];
}

}  // namespace sluice::model
