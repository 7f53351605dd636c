// Scores of some queries against all keys that they may see: as many queries at a time as keep the scores small.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/units.h"
#include "model/torch_operators.h"

namespace sluice::model::torch_operators {
namespace {

constexpr double kHidden = -std::numeric_limits<double>::infinity();

/// Heads by group: [B*K, G*n, d] for queries (a head's tokens together), [B*K, S, d] for keys.
struct Grouped {
  std::int64_t batch, seq_len, kv_heads, group, dim;

  Grouped(const at::Tensor& q, const at::Tensor& k)
      : batch(q.size(0)), seq_len(q.size(1)), kv_heads(k.size(2)), group(q.size(2) / k.size(2)), dim(q.size(3)) {}

  [[nodiscard]] at::Tensor keys(const at::Tensor& x_BSKd) const {
    return x_BSKd.permute({0, 2, 1, 3}).reshape({batch * kv_heads, seq_len, dim});
  }
  [[nodiscard]] at::Tensor queries(const at::Tensor& x_BSHd, std::int64_t first, std::int64_t n) const {
    return x_BSHd.narrow(1, first, n)
        .reshape({batch, n, kv_heads, group, dim})
        .permute({0, 2, 3, 1, 4})
        .reshape({batch * kv_heads, group * n, dim});
  }
  void put_queries(const at::Tensor& rows, const at::Tensor& x_BSHd, std::int64_t first, std::int64_t n) const {
    const at::Tensor heads = rows.view({batch, kv_heads, group, n, dim}).permute({0, 3, 1, 2, 4});
    x_BSHd.narrow(1, first, n).view({batch, n, kv_heads, group, dim}).copy_(heads);
  }
  void put_keys(const at::Tensor& rows, const at::Tensor& x_BSKd) const {
    x_BSKd.copy_(rows.view({batch, kv_heads, seq_len, dim}).permute({0, 2, 1, 3}));
  }
  /// Statistics [B,H,S] of the tile's queries, as a column beside their rows.
  [[nodiscard]] at::Tensor column(const at::Tensor& x_BHS, std::int64_t first, std::int64_t n) const {
    return x_BHS.narrow(2, first, n).reshape({batch * kv_heads, group * n, 1});
  }

  [[nodiscard]] double scale() const { return 1 / std::sqrt(static_cast<double>(dim)); }
  template <typename Body>
  void for_tiles(const Body& body) const {
    constexpr Bytes kScores = 64 * MiB;
    const Bytes of_query = batch * kv_heads * group * seq_len * static_cast<Bytes>(sizeof(float));
    const std::int64_t tile = std::clamp<std::int64_t>(kScores / of_query, 16, 1024);
    for (std::int64_t first = 0; first < seq_len; first += tile) body(first, std::min(tile, seq_len - first));
  }
};

// Scaled scores of queries [first, first + n) against keys [0, first + n), minus infinity where they may not see.
at::Tensor visible_scores(const Grouped& g, const at::Tensor& queries, const at::Tensor& keys, std::int64_t first,
                          std::int64_t n) {
  const std::int64_t length = first + n;
  at::Tensor scores = at::bmm(queries, keys.narrow(1, 0, length).transpose(1, 2)).mul_(g.scale());
  const at::Tensor hidden = at::ones({n, length}, scores.options().dtype(at::kBool)).triu_(first + 1);
  scores.view({-1, g.group, n, length}).masked_fill_(hidden, kHidden);
  return scores;
}

}  // namespace

AttentionResult causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const Grouped g(q, k);
  AttentionResult result{at::empty(q.sizes(), q.options()), at::empty({q.size(0), q.size(2), q.size(1)}, q.options())};
  const at::Tensor keys = g.keys(k), values = g.keys(v);
  g.for_tiles([&](std::int64_t first, std::int64_t n) {
    at::Tensor scores = visible_scores(g, g.queries(q, first, n), keys, first, n);
    const at::Tensor largest = scores.amax(at::IntArrayRef{-1}, /*keepdim=*/true);
    scores.sub_(largest).exp_();
    at::Tensor sum = scores.sum(at::IntArrayRef{-1}, /*keepdim=*/true);
    const at::Tensor out = at::bmm(scores, values.narrow(1, 0, first + n)).div_(sum);
    g.put_queries(out, result.out, first, n);
    const at::Tensor logsumexp = sum.log_().add_(largest).view({g.batch, g.kv_heads * g.group, n});
    result.logsumexp.narrow(2, first, n).copy_(logsumexp);
  });
  return result;
}

// With p the softmax: dv = p^T dout, ds = p (dout v^T - sum(dout out)), dq = ds k, dk = ds^T q.
AttentionGradients causal_attention_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                             const at::Tensor& v, const AttentionResult& forward) {
  const Grouped g(q, k);
  AttentionGradients d{at::empty(q.sizes(), q.options()), at::empty(k.sizes(), k.options()),
                       at::empty(v.sizes(), v.options())};
  const at::Tensor keys = g.keys(k), values = g.keys(v);
  const at::Tensor dkeys = at::zeros(keys.sizes(), keys.options()), dvalues = at::zeros(keys.sizes(), keys.options());
  g.for_tiles([&](std::int64_t first, std::int64_t n) {
    const std::int64_t length = first + n;
    const at::Tensor queries = g.queries(q, first, n), gradient = g.queries(dout, first, n);
    at::Tensor p = visible_scores(g, queries, keys, first, n);
    p.sub_(g.column(forward.logsumexp, first, n)).exp_();
    dvalues.narrow(1, 0, length).baddbmm_(p.transpose(1, 2), gradient);
    const at::Tensor product =
        at::mul(gradient, g.queries(forward.out, first, n)).sum(at::IntArrayRef{-1}, /*keepdim=*/true);
    at::Tensor ds = at::bmm(gradient, values.narrow(1, 0, length).transpose(1, 2));
    ds.sub_(product).mul_(p).mul_(g.scale());
    g.put_queries(at::bmm(ds, keys.narrow(1, 0, length)), d.dq, first, n);
    dkeys.narrow(1, 0, length).baddbmm_(ds.transpose(1, 2), queries);
  });
  g.put_keys(dkeys, d.dk);
  g.put_keys(dvalues, d.dv);
  return d;
}

void visible_softmax(at::Tensor scores, std::int64_t num_queries, std::int64_t position, std::int64_t longest) {
  const std::int64_t length = scores.size(-1);
  const auto integers = scores.options().dtype(at::kLong);
  const at::Tensor columns = at::arange(longest, integers).narrow(0, 0, length).unsqueeze(0);
  const at::Tensor last = at::arange(num_queries, integers).add_(position).unsqueeze(1);
  at::Tensor hidden = at::empty({num_queries * longest}, scores.options().dtype(at::kBool))
                          .narrow(0, 0, num_queries * length)
                          .view({num_queries, length});
  at::gt_out(hidden, columns, last);
  scores.view({-1, num_queries, length}).masked_fill_(hidden, kHidden);
  scores.sub_(scores.amax(at::IntArrayRef{-1}, /*keepdim=*/true)).exp_();
  scores.div_(scores.sum(at::IntArrayRef{-1}, /*keepdim=*/true));
}

}  // namespace sluice::model::torch_operators
