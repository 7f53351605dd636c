#include "model/attention_branch.h"

#include <ATen/ATen.h>

#include <utility>

#include "model/rms_norm.h"

namespace sluice::model {

AttentionBranch::Heads AttentionBranch::project(const AttentionWeights& p, const at::Tensor& x, TokenGrid grid,
                                                std::int64_t position) const {
  const auto heads = [&](const at::Tensor& rows, std::int64_t num_heads) {
    return rows.view({grid.batch, grid.seq_len, num_heads, shape_.head_dim});
  };
  Heads result;
  NormResult norm = rms_norm(x, p.norm, shape_.norm_eps);
  result.rstd = norm.rstd;
  result.q = heads(linear(p.q, norm.y), shape_.num_heads);
  result.k = heads(linear(p.k, norm.y), shape_.num_kv_heads);
  result.v = heads(linear(p.v, norm.y), shape_.num_kv_heads);
  norm.y.reset();
  const at::Tensor table = rope_.table(position, grid.seq_len, x.device());
  rotate(result.q, table);
  rotate(result.k, table);
  return result;
}

at::Tensor AttentionBranch::forward(const AttentionWeights& p, const at::Tensor& x, TokenGrid grid,
                                    SavedAttention* saved) const {
  Heads heads = project(p, x, grid, 0);
  AttentionResult attention = causal_attention(heads.q, heads.k, heads.v);
  if (saved != nullptr) *saved = {heads.rstd, heads.q, heads.k, heads.v, attention};
  heads = {};
  attention.logsumexp.reset();
  at::Tensor y = linear(p.o, attention.out.view({x.size(0), -1}));
  y.add_(x);
  return y;
}

void AttentionBranch::backward(const AttentionWeights& p, const AttentionWeights& g, const at::Tensor& x,
                               TokenGrid grid, SavedAttention saved, at::Tensor& dx) const {
  const std::int64_t num_rows = x.size(0);
  AttentionGradients d;
  {
    add_linear_gradients(g.o, dx, saved.attention.out.view({num_rows, -1}));
    const at::Tensor dout = linear_backward(p.o, dx).view(saved.q.sizes());
    d = causal_attention_backward(dout, saved.q, saved.k, saved.v, saved.attention);
  }
  saved.attention = {};
  saved.q.reset();
  saved.k.reset();
  saved.v.reset();
  {
    const at::Tensor table = rope_.table(0, grid.seq_len, x.device());
    rotate_back(d.dq, table);
    rotate_back(d.dk, table);
  }
  const at::Tensor dq = d.dq.view({num_rows, -1}), dk = d.dk.view({num_rows, -1}), dv = d.dv.view({num_rows, -1});
  {
    const at::Tensor normalised = rms_norm_again(x, saved.rstd, p.norm);
    add_linear_gradients(g.q, dq, normalised);
    add_linear_gradients(g.k, dk, normalised);
    add_linear_gradients(g.v, dv, normalised);
  }
  at::Tensor d_normalised = linear_backward(p.q, dq);
  add_linear_backward(p.k, dk, d_normalised);
  add_linear_backward(p.v, dv, d_normalised);
  add_rms_norm_backward(d_normalised, x, saved.rstd, p.norm, g.norm, dx);
}

at::Tensor AttentionBranch::decode(const AttentionWeights& p, const at::Tensor& x, TokenGrid grid, const KvCache& cache,
                                   std::int64_t position) const {
  const Heads heads = project(p, x, grid, position);
  cache.keys.narrow(2, position, grid.seq_len).copy_(heads.k.transpose(1, 2));
  cache.values.narrow(2, position, grid.seq_len).copy_(heads.v.transpose(1, 2));
  const at::Tensor out = cached_attention(heads.q, cache, position);
  at::Tensor y = linear(p.o, out.reshape({x.size(0), -1}));
  y.add_(x);
  return y;
}

}  // namespace sluice::model
