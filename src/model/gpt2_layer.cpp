// A GPT-2 layer: which parameter is which, and how they begin.
#include "model/gpt2_layer.h"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>

#include "model/decoder_layer.h"
#include "model/gelu_mlp_branch.h"

namespace sluice::model {
namespace {

class Gpt2Layer final : public DecoderLayer<GeluMlpBranch> {
 public:
  Gpt2Layer(const format::ModelConfig& config, std::string name, NumberFormat compute)
      : DecoderLayer(std::move(name),
                     AttentionBranch({config.num_heads, config.num_heads, config.head_dim},
                                     {Norm::Kind::Layer, config.rms_norm_eps}, std::nullopt),
                     GeluMlpBranch(config.rms_norm_eps, gelu_form(config.hidden_act)), compute) {}

 protected:
  // In the order of `gpt2_layer_parameters`. Files hold matrices as [in,out]: a view turns them round, so that memory
  // and file stay alike.
  Weights weights(std::span<const at::Tensor> tensors) const override {
    const auto norm = [&](std::size_t first) { return NormWeights{tensors[first], tensors[first + 1]}; };
    const auto projection = [&](std::size_t first) {
      const at::Tensor& stored = tensors[first];
      return Linear{stored.defined() ? stored.t() : stored, tensors[first + 1]};
    };
    return {{norm(0), {projection(2)}, projection(4)}, {norm(6), projection(8), projection(10)}};
  }
};

}  // namespace

std::vector<ParameterSpec> gpt2_layer_parameters(const format::ModelConfig& config, const std::string& prefix) {
  using Init = ParameterSpec::Init;
  std::vector<ParameterSpec> specs;
  const auto norm = [&](const char* name) {
    specs.push_back({prefix + name + ".weight", {config.hidden_size}, Init::Ones, 0});
    specs.push_back({prefix + name + ".bias", {config.hidden_size}, Init::Zeros, 0});
  };
  const auto projection = [&](const char* name, std::int64_t in, std::int64_t out, double std) {
    specs.push_back({prefix + name + ".weight", {in, out}, Init::Normal, std, ParameterSpec::Matrix::InOut});
    specs.push_back({prefix + name + ".bias", {out}, Init::Zeros, 0});
  };
  const std::int64_t d = config.hidden_size, f = config.intermediate_size;
  const double std = config.initializer_range;
  // What is added to the residual stream starts smaller, so that its variance does not grow with depth.
  const double residual_std = std / std::sqrt(2.0 * static_cast<double>(config.num_layers));
  norm("ln_1");
  projection("attn.c_attn", d, 3 * d, std);
  specs[specs.size() - 2].num_joined = 3;  // queries, keys and values
  projection("attn.c_proj", d, d, residual_std);
  norm("ln_2");
  projection("mlp.c_fc", d, f, std);
  projection("mlp.c_proj", f, d, residual_std);
  return specs;
}

std::unique_ptr<Block> make_gpt2_layer(const format::ModelConfig& config, std::string name, NumberFormat compute) {
  return std::make_unique<Gpt2Layer>(config, std::move(name), compute);
}

}  // namespace sluice::model
