// A decoder layer of any family: attention branch, then an MLP branch of the family's kind. Two classes of tensors can
// be saved for the backward: those of the attention with the value between the branches, and those of the MLP; the
// layer's input belongs to the plan.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "model/attention_branch.h"
#include "model/block.h"
#include "model/held_weight.h"

namespace sluice::model {

/// A family says which tensor is which. Mlp: MlpBranch or a class like it, with its Weights and its Saved, which holds
/// the branch's input and two tensors more.
template <typename Mlp>
class DecoderLayer : public Block {
 public:
  DecoderLayer(std::string name, AttentionBranch attention, Mlp mlp, NumberFormat compute)
      : name_(std::move(name)), attention_(std::move(attention)), mlp_(std::move(mlp)), compute_(compute) {}
  std::string name() const override { return name_; }
  std::string trace_key() const override {
    std::string key = "decoder_layer";
    for (const LinearAdapter& adapter : adapters_)
      key += (adapter.magnitude ? " m" : " r") + std::to_string(adapter.rank);
    return key;
  }
  void set_adapters(std::vector<LinearAdapter> adapters) override { adapters_ = std::move(adapters); }

  at::Tensor forward(std::span<const at::Tensor> parameters, const at::Tensor& input,
                     const MicroBatch&) const override {
    const Weights p = completed(parameters);
    at::Tensor between = attention_.forward(p.attention, rows(input), grid(input), nullptr);
    return mlp_.forward(p.mlp, std::move(between)).view(input.sizes());
  }

  std::vector<std::string> saved_classes() const override { return {"attention", "mlp"}; }

  at::Tensor forward_saving(std::span<const at::Tensor> parameters, const at::Tensor& input, const MicroBatch&,
                            SavedMask mask, SavedTensors& saved) const override {
    const Weights p = completed(parameters);
    const bool save_attention = (mask & (1U << kAttention)) != 0;
    SavedAttention a;
    at::Tensor between = attention_.forward(p.attention, rows(input), grid(input), save_attention ? &a : nullptr);
    if (save_attention) saved[kAttention] = {a.statistics, a.qkv, a.attention.out, a.attention.logsumexp, between};
    if ((mask & (1U << kMlp)) == 0) {
      at::Tensor x = save_attention ? between.clone() : std::move(between);
      return mlp_.forward(p.mlp, std::move(x)).view(input.sizes());
    }
    const typename Mlp::Saved m = mlp_.save(p.mlp, std::move(between));
    const auto& [x, statistics, product] = m;
    saved[kMlp] = {statistics, product};
    return mlp_.output(p.mlp, m).view(input.sizes());
  }

  at::Tensor backward(const BackwardInputs& in, SavedTensors saved) const override {
    const Weights p = completed(in.parameters), g = completed(in.gradients);
    SavedAttention a;
    at::Tensor between;
    if (std::vector<at::Tensor> t = std::move(saved[kAttention]); !t.empty()) {
      a = {std::move(t[0]), std::move(t[1]), {std::move(t[2]), std::move(t[3])}};
      between = std::move(t[4]);
    } else {
      between = attention_.forward(p.attention, rows(in.input), grid(in.input), &a);
    }
    typename Mlp::Saved m;
    if (std::vector<at::Tensor> t = std::move(saved[kMlp]); !t.empty()) {
      m = {std::move(between), std::move(t[0]), std::move(t[1])};
    } else {
      m = mlp_.save(p.mlp, std::move(between));
    }
    at::Tensor dx = mlp_.backward(p.mlp, g.mlp, std::move(m), rows(in.output_gradient));
    attention_.backward(p.attention, g.attention, rows(in.input), grid(in.input), std::move(a), dx);
    return dx.view(in.input.sizes());
  }

  std::vector<std::int64_t> cache_shape() const override {
    return {attention_.shape().num_kv_heads, attention_.shape().head_dim};
  }

  at::Tensor decode(std::span<const at::Tensor> parameters, const at::Tensor& input, const KvCache& cache,
                    std::int64_t position, const MicroBatch&) const override {
    const Weights p = completed(parameters);
    at::Tensor between = attention_.decode(p.attention, rows(input), grid(input), cache, position);
    return mlp_.forward(p.mlp, std::move(between)).view(input.sizes());
  }

 protected:
  struct Weights {
    AttentionWeights attention;
    typename Mlp::Weights mlp;
  };
  /// Parameters, or their gradients, as the family orders them; an undefined gradient is not wanted.
  [[nodiscard]] virtual Weights weights(std::span<const at::Tensor> tensors) const = 0;

 private:
  enum Class : SavedMask { kAttention, kMlp };  // in the order of `saved_classes`

  // With what every linear map has in common and what adapters add. Vectors are computed with in fp32, however they are
  // held.
  Weights completed(std::span<const at::Tensor> held) const {
    std::vector<at::Tensor> tensors(held.begin(), held.end());
    for (at::Tensor& tensor : tensors) {
      if (tensor.defined() && tensor.dim() == 1) tensor = wide_weight(tensor);
    }
    Weights w = weights(tensors);
    std::vector<Linear*> linears = w.attention.linears();
    for (Linear* linear : w.mlp.linears()) linears.push_back(linear);
    for (Linear* linear : linears) linear->compute = compute_;
    if (adapters_.empty()) return w;
    std::size_t next = tensors.size();
    for (std::size_t i = linears.size(); i-- > 0;) {
      const std::size_t count = adapters_[i].num_parameters();
      if (count == 0) continue;
      next -= count;
      linears[i]->adapter = {tensors[next], tensors[next + 1], count > 2 ? tensors[next + 2] : at::Tensor(),
                             adapters_[i].scale};
    }
    return w;
  }

  static at::Tensor rows(const at::Tensor& x_BSD) { return x_BSD.reshape({-1, x_BSD.size(2)}); }
  static TokenGrid grid(const at::Tensor& x_BSD) { return {x_BSD.size(0), x_BSD.size(1)}; }

  std::string name_;
  AttentionBranch attention_;
  Mlp mlp_;
  NumberFormat compute_;
  std::vector<LinearAdapter> adapters_;  // one per linear map, or none at all
};

}  // namespace sluice::model
