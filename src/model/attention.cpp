#include "model/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "base/check.h"
#include "model/kernel_scratch.h"
#include "model/op_cost.h"

namespace sluice::model {
namespace {

// Products of one pass: scores and output (2), or scores, dV, dP, dQ, dK (5); causality leaves out half of each.
plan::OpCost attention_cost(const at::Tensor& q, const at::Tensor& k, int num_products, int num_q_sized) {
  plan::OpCost cost;
  cost.kind = plan::OpClass::Attention;
  cost.flops = num_products * static_cast<Flops>(q.numel()) * static_cast<Flops>(q.size(1));
  cost.bytes = (num_q_sized * q.numel() + num_q_sized * k.numel()) * static_cast<Bytes>(q.element_size());
  return cost;
}

AttentionScratch scratch_of(const at::Tensor& q) {
  return attention_scratch(q.size(1), q.size(3), at::get_num_threads());
}

void check_device(const at::Tensor& q) {
  SLUICE_CHECK(q.is_cpu() || q.is_meta(), "fused attention runs on cpu and meta, not on ", q.device().str());
}

}  // namespace

AttentionResult causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  check_device(q);
  record_cost(attention_cost(q, k, 2, 2));
  if (q.is_meta()) {
    at::Tensor out = at::empty(q.sizes(), q.options());
    at::Tensor logsumexp = at::empty({q.size(0), q.size(1), q.size(2)}, q.options());
    at::empty({scratch_of(q).forward}, q.options());
    return {out, logsumexp};
  }
  auto [out, logsumexp] = at::_scaled_dot_product_flash_attention_for_cpu(
      q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), /*dropout_p=*/0.0, /*is_causal=*/true);
  return {out.transpose(1, 2), logsumexp};
}

AttentionGradients causal_attention_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                             const at::Tensor& v, const AttentionResult& forward) {
  check_device(q);
  record_cost(attention_cost(q, k, 5, 4));
  if (q.is_meta()) {
    AttentionGradients gradients{at::empty(q.sizes(), q.options()), at::empty(k.sizes(), k.options()),
                                 at::empty(v.sizes(), v.options())};
    at::empty({scratch_of(q).backward}, q.options());
    return gradients;
  }
  auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      dout.transpose(1, 2), q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), forward.out.transpose(1, 2),
      forward.logsumexp, /*dropout_p=*/0.0, /*is_causal=*/true);
  return {dq.transpose(1, 2), dk.transpose(1, 2), dv.transpose(1, 2)};
}

namespace {

// Softmax of the scores that a query may see, in place: query i of `num_queries` stands at `position` + i.
void visible_softmax(at::Tensor& scores, std::int64_t num_queries, std::int64_t position, float scale) {
  plan::OpCost cost;
  cost.bytes = 2 * scores.numel() * static_cast<Bytes>(sizeof(float));
  cost.flops = 4 * static_cast<Flops>(scores.numel());
  record_cost(cost);
  if (scores.is_meta()) return;
  const std::int64_t length = scores.size(-1);
  auto* data = scores.mutable_data_ptr<float>();
  at::parallel_for(0, scores.numel() / length, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      float* score = data + row * length;
      const std::int64_t visible = position + row % num_queries + 1;
      const float most = *std::max_element(score, score + visible);
      float sum = 0;
      for (std::int64_t i = 0; i < visible; ++i) {
        score[i] = std::exp(scale * (score[i] - most));
        sum += score[i];
      }
      for (std::int64_t i = 0; i < visible; ++i) score[i] /= sum;
      std::fill(score + visible, score + length, 0.0F);
    }
  });
}

}  // namespace

at::Tensor cached_attention(const at::Tensor& q, const KvCache& cache, std::int64_t position) {
  check_device(q);
  const std::int64_t batch = q.size(0), n = q.size(1), heads = q.size(2), dim = q.size(3);
  const std::int64_t kv_heads = cache.keys.size(1), group = heads / kv_heads, length = position + n;
  const auto seen = [&](const at::Tensor& cached) {
    return cached.narrow(2, 0, length).view({batch * kv_heads, length, dim});
  };
  // [B,n,K,G,d] -> [B*K,G*n,d]: the queries of a group share their keys.
  const at::Tensor queries =
      q.view({batch, n, kv_heads, group, dim}).permute({0, 2, 3, 1, 4}).reshape({batch * kv_heads, group * n, dim});
  const std::int64_t rows = batch * kv_heads * group * n;
  // Room for the longest: what is allocated must not depend on the position.
  const at::Tensor room = at::empty({rows * cache.keys.size(2)}, q.options());
  at::Tensor scores = room.narrow(0, 0, rows * length).view({batch * kv_heads, group * n, length});
  at::bmm_out(scores, queries, seen(cache.keys).transpose(1, 2));
  visible_softmax(scores, n, position, static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim))));
  const at::Tensor out = at::bmm(scores, seen(cache.values));
  return out.view({batch, kv_heads, group, n, dim}).permute({0, 3, 1, 2, 4}).reshape({batch, n, heads, dim});
}

}  // namespace sluice::model
