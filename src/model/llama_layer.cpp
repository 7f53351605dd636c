// A Llama layer: which parameter is which.
#include "model/llama_layer.h"

#include <ATen/ATen.h>

#include <utility>

#include "model/decoder_layer.h"
#include "model/mlp_branch.h"

namespace sluice::model {
namespace {

class LlamaLayer final : public DecoderLayer<MlpBranch> {
 public:
  LlamaLayer(const format::ModelConfig& config, std::string name, NumberFormat compute)
      : DecoderLayer(std::move(name),
                     AttentionBranch({config.num_heads, config.num_kv_heads, config.head_dim},
                                     {Norm::Kind::Rms, config.rms_norm_eps}, Rope(config)),
                     MlpBranch(config.rms_norm_eps), compute),
        attention_bias_(config.attention_bias),
        mlp_bias_(config.mlp_bias) {}

 protected:
  // In the order of `layer_parameters`.
  Weights weights(std::span<const at::Tensor> tensors) const override {
    std::size_t next = 0;
    const auto take = [&](bool exists) { return exists ? tensors[next++] : at::Tensor(); };
    const auto take_linear = [&](bool has_bias) {
      at::Tensor weight = take(true);
      return Linear{std::move(weight), take(has_bias)};
    };
    Weights w;
    w.attention.norm.weight = take(true);
    for (int i = 0; i < 3; ++i) w.attention.qkv.push_back(take_linear(attention_bias_));
    w.attention.o = take_linear(attention_bias_);
    w.mlp.norm = take(true);
    for (int i = 0; i < 2; ++i) w.mlp.gate_up.push_back(take_linear(mlp_bias_));
    w.mlp.down = take_linear(mlp_bias_);
    return w;
  }

 private:
  bool attention_bias_, mlp_bias_;
};

}  // namespace

std::vector<ParameterSpec> layer_parameters(const format::ModelConfig& config, const std::string& prefix) {
  using Init = ParameterSpec::Init;
  std::vector<ParameterSpec> specs;
  const auto norm = [&](const char* name) {
    specs.push_back({prefix + name + ".weight", {config.hidden_size}, Init::Ones, 0});
  };
  const auto projection = [&](const char* name, std::int64_t out, std::int64_t in, bool bias) {
    specs.push_back(
        {prefix + name + ".weight", {out, in}, Init::Normal, config.initializer_range, ParameterSpec::Matrix::OutIn});
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

std::unique_ptr<Block> make_llama_layer(const format::ModelConfig& config, std::string name, NumberFormat compute) {
  return std::make_unique<LlamaLayer>(config, std::move(name), compute);
}

}  // namespace sluice::model
