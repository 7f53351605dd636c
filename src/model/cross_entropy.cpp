#include "model/cross_entropy.h"

#include <ATen/ATen.h>

#include "model/scalar.h"

namespace sluice::model {

at::Tensor shifted_targets(const at::Tensor& labels_BS) {
  const std::int64_t seq_len = labels_BS.size(1);
  at::Tensor targets = at::empty(labels_BS.sizes(), labels_BS.options());
  targets.narrow(1, 0, seq_len - 1).copy_(labels_BS.narrow(1, 1, seq_len - 1));
  targets.narrow(1, seq_len - 1, 1).fill_(kNoTarget);
  return targets.view({-1});
}

void cross_entropy_tile(at::Tensor& logits, const at::Tensor& targets, at::Tensor& loss_sum, bool with_gradient,
                        float scale) {
  const at::Tensor index = targets.clamp_min(0).unsqueeze(1);
  at::Tensor weight = targets.ne(kNoTarget).to(at::kFloat).unsqueeze(1);
  logits.sub_(at::amax(logits, {1}, /*keepdim=*/true));
  const at::Tensor target_logit = at::gather(logits, 1, index);
  logits.exp_();
  at::Tensor total = at::sum(logits, {1}, /*keepdim=*/true);
  const at::Tensor losses = total.log().sub_(target_logit).mul_(weight).to(at::kDouble);
  loss_sum.add_(losses.sum());
  if (!with_gradient) return;
  weight.mul_(scalar(scale));
  logits.mul_(total.reciprocal_().mul_(weight));
  logits.scatter_add_(1, index, weight.neg_());
}

}  // namespace sluice::model
