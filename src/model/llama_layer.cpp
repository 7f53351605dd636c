// A Llama decoder layer: attention branch, then MLP branch, as one autograd node. Saved per token: q, k, v, attention
// output, the value between the branches, gate and up; the layer's input belongs to the plan.
#include <ATen/ATen.h>

#include <utility>

#include "model/attention_branch.h"
#include "model/explicit_backward.h"
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
    if (needs_backward(input, parameters)) return forward_saving(parameters, input, /*values_needed=*/true);
    const at::NoGradGuard no_grad;
    const LayerWeights p = weights(parameters);
    at::Tensor between = attention_.forward(p.attention, rows(input), grid(input), nullptr);
    return mlp_.forward(p.mlp, std::move(between)).view(input.sizes());
  }

  at::Tensor forward_for_backward(std::span<const at::Tensor> parameters, const at::Tensor& input,
                                  const MicroBatch& batch) const override {
    if (!needs_backward(input, parameters)) return forward(parameters, input, batch);
    return forward_saving(parameters, input, /*values_needed=*/false);
  }

  std::vector<std::int64_t> cache_shape() const override {
    return {attention_.shape().num_kv_heads, attention_.shape().head_dim};
  }

  at::Tensor decode(std::span<const at::Tensor> parameters, const at::Tensor& input, const KvCache& cache,
                    std::int64_t position, const MicroBatch&) const override {
    const at::NoGradGuard no_grad;
    const LayerWeights p = weights(parameters);
    at::Tensor between = attention_.decode(p.attention, rows(input), grid(input), cache, position);
    return mlp_.forward(p.mlp, std::move(between)).view(input.sizes());
  }

 private:
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
    w.attention.q = take_linear(attention_bias_);
    w.attention.k = take_linear(attention_bias_);
    w.attention.v = take_linear(attention_bias_);
    w.attention.o = take_linear(attention_bias_);
    w.mlp.norm = take(true);
    w.mlp.gate = take_linear(mlp_bias_);
    w.mlp.up = take_linear(mlp_bias_);
    w.mlp.down = take_linear(mlp_bias_);
    return w;
  }

  at::Tensor forward_saving(std::span<const at::Tensor> parameters, const at::Tensor& input, bool values_needed) const {
    at::Tensor output;
    SavedTensors kept;
    {
      const at::NoGradGuard no_grad;
      const LayerWeights p = weights(parameters);
      SavedAttention a;
      at::Tensor between = attention_.forward(p.attention, rows(input), grid(input), &a);
      const SavedMlp m = mlp_.save(p.mlp, std::move(between));
      output =
          values_needed ? mlp_.output(p.mlp, m).view(input.sizes()) : placeholder_output(input.sizes(), m.x.options());
      for (const auto& tensor :
           {a.rstd, a.q, a.k, a.v, a.attention.out, a.attention.logsumexp, m.x, m.rstd, m.gate, m.up}) {
        kept.save(tensor);
      }
    }
    auto backward = [this, x = input.detach(), all = std::vector<at::Tensor>(parameters.begin(), parameters.end())](
                        SavedTensors& saved, const at::Tensor& dy, std::span<const at::Tensor> gradients) {
      return backward_saved(all, gradients, x, saved, dy);
    };
    return attach_backward(std::move(output), input, parameters, std::move(kept), std::move(backward));
  }

  at::Tensor backward_saved(std::span<const at::Tensor> parameters, std::span<const at::Tensor> gradients,
                            const at::Tensor& input, SavedTensors& saved, const at::Tensor& dy) const {
    const LayerWeights p = weights(parameters), g = weights(gradients);
    SavedMlp m{saved.take(6), saved.take(7), saved.take(8), saved.take(9)};
    at::Tensor dx = mlp_.backward(p.mlp, g.mlp, std::move(m), rows(dy));
    SavedAttention a{saved.take(0), saved.take(1), saved.take(2), saved.take(3), {saved.take(4), saved.take(5)}};
    attention_.backward(p.attention, g.attention, rows(input), grid(input), std::move(a), dx);
    return dx.view(input.sizes());
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
