// A Llama decoder layer: attention branch, then MLP branch. Two classes of tensors can be saved for the backward: those
// of the attention with the value between the branches, and those of the MLP; the layer's input belongs to the plan.
#include <ATen/ATen.h>

#include <utility>

#include "model/attention_branch.h"
#include "model/llama_blocks.h"
#include "model/mlp_branch.h"

namespace sluice::model {
namespace {

struct LayerWeights {
  AttentionWeights attention;
  MlpWeights mlp;
};

class LlamaLayer final : public Block {
 public:
  LlamaLayer(const format::ModelConfig& config, std::string name)
      : name_(std::move(name)),
        attention_bias_(config.attention_bias),
        mlp_bias_(config.mlp_bias),
        attention_({config.num_heads, config.num_kv_heads, config.head_dim, config.rms_norm_eps}, Rope(config)),
        mlp_(config.rms_norm_eps) {}
  std::string name() const override { return name_; }
  std::string trace_key() const override { return "llama_layer"; }

  at::Tensor forward(std::span<const at::Tensor> parameters, const at::Tensor& input,
                     const MicroBatch&) const override {
    const LayerWeights p = weights(parameters);
    at::Tensor between = attention_.forward(p.attention, rows(input), grid(input), nullptr);
    return mlp_.forward(p.mlp, std::move(between)).view(input.sizes());
  }

  std::vector<std::string> saved_classes() const override { return {"attention", "mlp"}; }

  at::Tensor forward_saving(std::span<const at::Tensor> parameters, const at::Tensor& input, const MicroBatch&,
                            SavedMask mask, SavedTensors& saved) const override {
    const LayerWeights p = weights(parameters);
    const bool save_attention = (mask & (1U << kAttention)) != 0;
    SavedAttention a;
    at::Tensor between = attention_.forward(p.attention, rows(input), grid(input), save_attention ? &a : nullptr);
    if (save_attention) saved[kAttention] = {a.rstd, a.qkv, a.attention.out, a.attention.logsumexp, between};
    if ((mask & (1U << kMlp)) == 0) {
      at::Tensor x = save_attention ? between.clone() : std::move(between);
      return mlp_.forward(p.mlp, std::move(x)).view(input.sizes());
    }
    const SavedMlp m = mlp_.save(p.mlp, std::move(between));
    saved[kMlp] = {m.rstd, m.gate_up};
    return mlp_.output(p.mlp, m).view(input.sizes());
  }

  at::Tensor backward(const BackwardInputs& in, SavedTensors saved) const override {
    const LayerWeights p = weights(in.parameters), g = weights(in.gradients);
    SavedAttention a;
    at::Tensor between;
    if (std::vector<at::Tensor> t = std::move(saved[kAttention]); !t.empty()) {
      a = {std::move(t[0]), std::move(t[1]), {std::move(t[2]), std::move(t[3])}};
      between = std::move(t[4]);
    } else {
      between = attention_.forward(p.attention, rows(in.input), grid(in.input), &a);
    }
    SavedMlp m;
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
    const LayerWeights p = weights(parameters);
    at::Tensor between = attention_.decode(p.attention, rows(input), grid(input), cache, position);
    return mlp_.forward(p.mlp, std::move(between)).view(input.sizes());
  }

 private:
  enum Class : SavedMask { kAttention, kMlp };  // in the order of `saved_classes`

  static at::Tensor rows(const at::Tensor& x_BSD) { return x_BSD.reshape({-1, x_BSD.size(2)}); }
  static TokenGrid grid(const at::Tensor& x_BSD) { return {x_BSD.size(0), x_BSD.size(1)}; }

  // Parameters or gradients in the order of `layer_parameters`; an undefined gradient is not wanted.
  LayerWeights weights(std::span<const at::Tensor> tensors) const {
    std::size_t next = 0;
    const auto take = [&](bool exists) { return exists ? tensors[next++] : at::Tensor(); };
    const auto take_linear = [&](bool has_bias) {
      at::Tensor weight = take(true);
      return Linear{std::move(weight), take(has_bias)};
    };
    LayerWeights w;
    w.attention.norm = take(true);
    for (int i = 0; i < 3; ++i) w.attention.qkv.push_back(take_linear(attention_bias_));
    w.attention.o = take_linear(attention_bias_);
    w.mlp.norm = take(true);
    for (int i = 0; i < 2; ++i) w.mlp.gate_up.push_back(take_linear(mlp_bias_));
    w.mlp.down = take_linear(mlp_bias_);
    return w;
  }

  std::string name_;
  bool attention_bias_, mlp_bias_;
  AttentionBranch attention_;
  MlpBranch mlp_;
};

}  // namespace

std::vector<ParameterSpec> layer_parameters(const format::ModelConfig& config, const std::string& prefix) {
  using Init = ParameterSpec::Init;
  std::vector<ParameterSpec> specs;
  const auto norm = [&](const char* name) {
    specs.push_back({prefix + name + ".weight", {config.hidden_size}, Init::Ones, 0});
  };
  const auto projection = [&](const char* name, std::int64_t out, std::int64_t in, bool bias) {
    specs.push_back({prefix + name + ".weight", {out, in}, Init::Normal, config.initializer_range});
    if (bias) specs.push_back({prefix + name + ".bias", {out}, Init::Zeros, 0});
  };
  const std::int64_t d = config.hidden_size, f = config.intermediate_size;
  const std::int64_t q = config.num_heads * config.head_dim, kv = config.num_kv_heads * config.head_dim;
  norm("input_layernorm");
  projection("self_attn.q_proj", q, d, config.attention_bias);
  projection("self_attn.k_proj", kv, d, config.attention_bias);
  projection("self_attn.v_proj", kv, d, config.attention_bias);
  projection("self_attn.o_proj", d, q, config.attention_bias);
  norm("post_attention_layernorm");
  projection("mlp.gate_proj", f, d, config.mlp_bias);
  projection("mlp.up_proj", f, d, config.mlp_bias);
  projection("mlp.down_proj", d, f, config.mlp_bias);
  return specs;
}

std::unique_ptr<Block> make_llama_layer(const format::ModelConfig& config, std::string name) {
  return std::make_unique<LlamaLayer>(config, std::move(name));
}

}  // namespace sluice::model
