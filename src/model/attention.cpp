#include "model/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "model/attention_tiles.h"
#include "model/fused_attention.h"
#include "model/op_cost.h"
#include "model/parallel.h"
#include "model/place.h"
#include "model/row_kernel.h"
#include "model/torch_operators.h"

namespace sluice::model {
namespace {

AttentionSizes sizes_of(const at::Tensor& q, const at::Tensor& k) {
  return {q.size(0), q.size(1), q.size(2), k.size(2), q.size(3)};
}

// Products of one pass: scores and output (2), or scores, dV, dP, dQ, dK (5); causality leaves out half of each.
plan::OpCost attention_cost(const at::Tensor& q, const at::Tensor& k, int num_products, int num_q_sized) {
  const bool forward = num_products == 2;
  plan::OpCost cost;
  cost.kind = forward ? plan::OpClass::Attention : plan::OpClass::AttentionBackward;
  if (!uses_torch())
    cost.imbalance = imbalance(forward ? sizes_of(q, k).forward_units() : sizes_of(q, k).backward_units());
  cost.m = q.size(1);
  cost.n = q.size(0) * q.size(2);
  cost.k = q.size(3);
  cost.flops = num_products * static_cast<Flops>(q.numel()) * static_cast<Flops>(q.size(1));
  cost.bytes = (num_q_sized * q.numel() + num_q_sized * k.numel()) * static_cast<Bytes>(q.element_size());
  return cost;
}

Heads heads_of(const at::Tensor& x_BSHd) { return {x_BSHd.mutable_data_ptr<float>(), token_stride(x_BSHd)}; }

AttentionForward pointers(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const AttentionResult& result) {
  return {sizes_of(q, k), heads_of(q),          heads_of(k),
          heads_of(v),    heads_of(result.out), result.logsumexp.mutable_data_ptr<float>()};
}

at::Tensor thread_scratch(std::int64_t elements, const at::Tensor& like) {
  return at::empty({at::get_num_threads() * elements}, like.options());
}

void check_device(const at::Tensor& q) {
  SLUICE_CHECK(q.is_cpu() || q.is_meta(), "fused attention runs on cpu and meta, not on ", q.device().str());
}

}  // namespace

AttentionResult causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, NumberFormat compute) {
  if (takes_fused_attention(q, compute)) {
    record_cost(attention_cost(q, k, 2, 2));
    return fused_attention(q, k, v, compute);
  }
  if (uses_torch()) return torch_operators::causal_attention(q, k, v);
  check_device(q);
  record_cost(attention_cost(q, k, 2, 2));
  AttentionResult result{at::empty(q.sizes(), q.options()), at::empty({q.size(0), q.size(2), q.size(1)}, q.options())};
  const at::Tensor scratch = thread_scratch(sizes_of(q, k).forward_scratch(), q);
  if (!q.is_meta()) run_attention(pointers(q, k, v, result), scratch.mutable_data_ptr<float>());
  return result;
}

AttentionGradients causal_attention_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                             const at::Tensor& v, const AttentionResult& forward,
                                             NumberFormat compute) {
  if (takes_fused_attention(q, compute)) {
    record_cost(attention_cost(q, k, 5, 4));
    return fused_attention_backward(dout, q, k, v, forward, compute);
  }
  if (uses_torch()) return torch_operators::causal_attention_backward(dout, q, k, v, forward);
  check_device(q);
  record_cost(attention_cost(q, k, 5, 4));
  AttentionGradients d{at::empty(q.sizes(), q.options()), at::empty(k.sizes(), k.options()),
                       at::empty(v.sizes(), v.options())};
  const at::Tensor scratch = thread_scratch(sizes_of(q, k).backward_scratch(), q);
  if (q.is_meta()) return d;
  run_attention_backward({pointers(q, k, v, forward), heads_of(dout), heads_of(d.dq), heads_of(d.dk), heads_of(d.dv)},
                         scratch.mutable_data_ptr<float>());
  return d;
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
  parallel_ranges(scores.numel() / length, 1, [&](std::int64_t begin, std::int64_t end) {
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
  if (!uses_torch()) check_device(q);
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
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)));
  if (uses_torch()) {
    torch_operators::visible_softmax(scores.mul_(scale), n, position, cache.keys.size(2));
  } else {
    visible_softmax(scores, n, position, scale);
  }
  const at::Tensor out = at::bmm(scores, seen(cache.values));
  return out.view({batch, kv_heads, group, n, dim}).permute({0, 3, 1, 2, 4}).reshape({batch, n, heads, dim});
}

}  // namespace sluice::model
