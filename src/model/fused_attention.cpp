#include "model/fused_attention.h"

#include <ATen/ATen.h>

#include <cmath>
#include <tuple>

#include "base/units.h"
#include "model/held_weight.h"
#include "model/place.h"
#include "model/torch_operators.h"

namespace sluice::model {
namespace {

constexpr std::int64_t kQueriesPerBlock = 64;  // of the kernels, where they divide keys
constexpr std::int64_t kRowsOfSums = 128;      // the kernels' sums stand in whole blocks of so many rows

double scale_of(const at::Tensor& q) { return 1 / std::sqrt(static_cast<double>(q.size(3))); }

// Strides of views do not matter to the kernels, but what is made of them is planned, so it has none to keep.
at::Tensor narrow(const at::Tensor& x, NumberFormat compute) {
  return x.to(held_type(compute), /*non_blocking=*/false, /*copy=*/false, at::MemoryFormat::Contiguous);
}

// While one lives, operators that have a deterministic form take it, and others throw.
class Deterministic {
 public:
  Deterministic() : was_(context().deterministicAlgorithms()), warned_(context().deterministicAlgorithmsWarnOnly()) {
    context().setDeterministicAlgorithms(true, /*warn_only=*/false);
  }
  ~Deterministic() { context().setDeterministicAlgorithms(was_, warned_); }
  Deterministic(const Deterministic&) = delete;
  Deterministic& operator=(const Deterministic&) = delete;

 private:
  static at::Context& context() { return at::globalContext(); }
  const bool was_, warned_;
};

struct Narrow {
  at::Tensor q, k, v;
};

// On meta torch cannot play the kernels: what they allocate is allocated by hand.
std::tuple<at::Tensor, at::Tensor> run_forward(const Narrow& in) {
  const std::int64_t batch = in.q.size(0), length = in.q.size(1), heads = in.q.size(2);
  if (in.q.is_meta()) {
    return {at::empty(in.q.sizes(), in.q.options()),
            at::empty({batch, heads, length}, in.q.options().dtype(at::kFloat))};
  }
  auto [out, logsumexp, random, unused, mask] =
      at::_flash_attention_forward(in.q, in.k, in.v, {}, {}, length, length, /*dropout_p=*/0, /*is_causal=*/true,
                                   /*return_debug_mask=*/false, scale_of(in.q));
  return {std::move(out), std::move(logsumexp)};
}

AttentionGradients backward_on_meta(const Narrow& in) {
  const std::int64_t batch = in.q.size(0), length = in.q.size(1), heads = in.q.size(2), dim = in.q.size(3);
  const auto like = [&](const at::Tensor& x) { return at::empty(x.sizes(), x.options()); };
  AttentionGradients d{like(in.q), like(in.k), like(in.v)};
  const auto sums = in.q.options().dtype(at::kFloat);
  const std::int64_t rows = round_up(length, kRowsOfSums), width = round_up(dim, dim <= 128 ? 32 : 64);
  // So that they have an order, each of these parts of dq is added up by itself.
  const std::int64_t parts = (compute_place().num_processors + batch * heads - 1) / (batch * heads);
  const at::Tensor products = at::empty({batch, heads, rows}, sums);
  const at::Tensor dq = at::zeros({parts, batch, rows, heads, width}, sums);
  if (in.k.size(2) == heads) return d;
  const at::Tensor dk = like(in.q), dv = like(in.q);  // of every head of queries
  return d;
}

AttentionGradients run_backward(const at::Tensor& dout, const Narrow& in, const at::Tensor& out,
                                const at::Tensor& logsumexp) {
  if (in.q.is_meta()) return backward_on_meta(in);
  const std::int64_t length = in.q.size(1);
  const Deterministic guard;
  const at::Tensor none, random = at::empty({2}, in.q.options().dtype(at::kLong));  // for dropout, which there is not
  auto [dq, dk, dv] =
      at::_flash_attention_backward(dout, in.q, in.k, in.v, out, logsumexp, none, none, length, length,
                                    /*dropout_p=*/0, /*is_causal=*/true, random, random, scale_of(in.q));
  return {std::move(dq), std::move(dk), std::move(dv)};
}

at::Tensor wide(const at::Tensor& x) {
  return x.to(at::kFloat, /*non_blocking=*/false, /*copy=*/false, at::MemoryFormat::Contiguous);
}

}  // namespace

bool takes_fused_attention(const at::Tensor& q, NumberFormat compute) {
  const ComputePlace& place = compute_place();
  if (!place.fused_attention || compute == NumberFormat::Fp32) return false;
  const std::int64_t blocks = q.size(0) * q.size(2) * ((q.size(1) + kQueriesPerBlock - 1) / kQueriesPerBlock);
  return q.size(3) % 8 == 0 && q.size(3) <= 256 && blocks >= 2 * place.num_processors;
}

AttentionResult fused_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, NumberFormat compute) {
  auto [out, logsumexp] = run_forward({narrow(q, compute), narrow(k, compute), narrow(v, compute)});
  return {wide(out), std::move(logsumexp)};
}

AttentionGradients fused_attention_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                            const at::Tensor& v, const AttentionResult& forward, NumberFormat compute) {
  const Narrow in{narrow(q, compute), narrow(k, compute), narrow(v, compute)};
  const AttentionGradients d = run_backward(narrow(dout, compute), in, narrow(forward.out, compute), forward.logsumexp);
  return {wide(d.dq), wide(d.dk), wide(d.dv)};
}

std::string try_fused_attention(NumberFormat compute) {
  constexpr std::int64_t kBatch = 4, kLength = 256, kHeads = 32, kKeyHeads = 8, kDim = 64;
  constexpr double kRoundedOff = 0.1;  // of the largest number: of gradients, whose sums cancel, 0.035 has been seen
  const auto options = at::TensorOptions(compute_place().device).dtype(at::kFloat);
  const auto heads = [&](std::int64_t count, double frequency) {
    const at::Tensor numbers = at::arange(kBatch * kLength * count * kDim, options);
    return at::sin(numbers.mul_(frequency)).view({kBatch, kLength, count, kDim});
  };
  try {
    const at::Tensor q = heads(kHeads, 0.37), k = heads(kKeyHeads, 0.53), v = heads(kKeyHeads, 0.71);
    const at::Tensor dout = heads(kHeads, 0.91);
    const AttentionResult expected = torch_operators::causal_attention(q, k, v),
                          found = fused_attention(q, k, v, compute);
    const AttentionGradients right = torch_operators::causal_attention_backward(dout, q, k, v, expected),
                             d = fused_attention_backward(dout, q, k, v, found, compute);
    for (const auto& [a, b] : {std::pair(found.out, expected.out), std::pair(d.dq, right.dq), std::pair(d.dk, right.dk),
                               std::pair(d.dv, right.dv)}) {
      const double off = (a - b).abs().max().item<double>() / b.abs().max().item<double>();
      if (!(off <= kRoundedOff)) return "its numbers are " + std::to_string(off) + " off";
    }
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    return text.substr(0, text.find('\n'));
  }
  return {};
}

}  // namespace sluice::model
