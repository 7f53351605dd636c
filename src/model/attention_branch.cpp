#include "model/attention_branch.h"

#include <ATen/ATen.h>

#include <utility>

namespace sluice::model {

std::vector<Linear*> AttentionWeights::linears() {
  std::vector<Linear*> result;
  for (Linear& part : qkv) result.push_back(&part);
  result.push_back(&o);
  return result;
}

AttentionBranch::Heads AttentionBranch::heads(const at::Tensor& qkv, TokenGrid grid) const {
  const auto part = [&](std::int64_t first_head, std::int64_t num_heads) {
    return qkv.narrow(1, first_head * shape_.head_dim, num_heads * shape_.head_dim)
        .view({grid.batch, grid.seq_len, num_heads, shape_.head_dim});
  };
  const std::int64_t q = shape_.num_heads, k = shape_.num_kv_heads;
  return {part(0, q), part(q, k), part(q + k, k)};
}

SavedAttention AttentionBranch::project(const AttentionWeights& p, const at::Tensor& x, TokenGrid grid,
                                        std::int64_t position) const {
  const Norm::Result norm = norm_.forward(p.norm, x);
  SavedAttention result{norm.statistics, joined_linear(p.qkv, norm.y), {}};
  if (!rope_) return result;
  const at::Tensor table = rope_->table(position, grid.seq_len, x.device());
  const Heads h = heads(result.qkv, grid);
  rotate(h.q, h.q, table);
  rotate(h.k, h.k, table);
  return result;
}

at::Tensor AttentionBranch::forward(const AttentionWeights& p, const at::Tensor& x, TokenGrid grid,
                                    SavedAttention* saved) const {
  SavedAttention parts = project(p, x, grid, 0);
  {
    const Heads h = heads(parts.qkv, grid);
    parts.attention = causal_attention(h.q, h.k, h.v, p.qkv.front().compute);
  }
  const at::Tensor out = parts.attention.out.view({x.size(0), -1});
  if (saved != nullptr) *saved = parts;
  parts = {};
  at::Tensor y = linear(p.o, out);
  y.add_(x);
  return y;
}

void AttentionBranch::backward(const AttentionWeights& p, const AttentionWeights& g, const at::Tensor& x,
                               TokenGrid grid, SavedAttention saved, at::Tensor& dx) const {
  const std::int64_t num_rows = x.size(0);
  AttentionGradients d;
  {
    at::Tensor dout;
    {
      const OutputGradient d_y = make_output_gradient(p.o, dx);
      add_linear_gradients(p.o, g.o, d_y, saved.attention.out.view({num_rows, -1}));
      dout = linear_backward(p.o, d_y).view(saved.attention.out.sizes());
    }
    const Heads h = heads(saved.qkv, grid);
    d = causal_attention_backward(dout, h.q, h.k, h.v, saved.attention, p.qkv.front().compute);
  }
  saved.attention = {};
  const at::Tensor d_qkv = std::exchange(saved.qkv, {});  // their memory; their values are needed no more
  {
    const Heads h = heads(d_qkv, grid);
    if (rope_) {
      const at::Tensor table = rope_->table(0, grid.seq_len, x.device());
      rotate_back(d.dq, h.q, table);
      rotate_back(d.dk, h.k, table);
    } else {
      h.q.copy_(d.dq);
      h.k.copy_(d.dk);
    }
    h.v.copy_(d.dv);
    d = {};
  }
  const OutputGradient d_rows = make_output_gradient(p.qkv, d_qkv);
  if (wants_gradient(g.qkv)) {
    const at::Tensor normalised = norm_.again(p.norm, x, saved.statistics);
    add_joined_gradients(p.qkv, g.qkv, d_rows, normalised);
  }
  const at::Tensor d_normalised = joined_backward(p.qkv, d_rows);
  norm_.backward(p.norm, g.norm, {x, saved.statistics, d_normalised, /*residual=*/dx, dx});
}

at::Tensor AttentionBranch::decode(const AttentionWeights& p, const at::Tensor& x, TokenGrid grid, const KvCache& cache,
                                   std::int64_t position) const {
  const SavedAttention parts = project(p, x, grid, position);
  const Heads h = heads(parts.qkv, grid);
  cache.keys.narrow(2, position, grid.seq_len).copy_(h.k.transpose(1, 2));
  cache.values.narrow(2, position, grid.seq_len).copy_(h.v.transpose(1, 2));
  const at::Tensor out = cached_attention(h.q, cache, position);
  at::Tensor y = linear(p.o, out.reshape({x.size(0), -1}));
  y.add_(x);
  return y;
}

}  // namespace sluice::model
