// Small models with memory of their own, run block by block through compute.h as the executor would.
#pragma once
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "format/model_config.h"
#include "model/compute.h"
#include "model/init.h"
#include "model/model.h"
#include "model/place.h"
#include "model/tracer.h"

namespace sluice::model {

inline format::ModelConfig small_config() {
  format::ModelConfig config;
  config.model_type = "llama";
  config.architecture = "LlamaForCausalLM";
  config.vocab_size = 61;
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 4;
  config.max_position_embeddings = 64;
  return config;
}

inline format::ModelConfig small_gpt2_config() {
  format::ModelConfig config = small_config();
  config.model_type = "gpt2";
  config.architecture = "GPT2LMHeadModel";
  config.intermediate_size = 64;
  config.num_kv_heads = 4;
  config.learned_positions = config.attention_bias = config.mlp_bias = true;
  config.hidden_act = "gelu_new";
  return config;
}

inline format::ModelConfig small_mistral_config() {
  format::ModelConfig config = small_config();
  config.model_type = "mistral";
  config.architecture = "MistralForCausalLM";
  return config;
}

/// A small model of every row of the catalog.
inline std::vector<format::ModelConfig> small_configs() {
  const std::vector<format::ModelConfig> configs = {small_config(), small_gpt2_config(), small_mistral_config()};
  for (const ModelRow& row : model_catalog()) {
    const auto is_it = [&](const format::ModelConfig& config) { return config.model_type == row.name; };
    EXPECT_TRUE(std::any_of(configs.begin(), configs.end(), is_it)) << row.name << " has no small model";
  }
  return configs;
}

inline MicroBatch random_batch(std::int64_t vocab_size, std::int64_t batch_size, std::int64_t seq_len) {
  at::Tensor ids = at::randint(0, vocab_size, {batch_size, seq_len}, at::kLong);
  return {ids, ids.clone()};
}

/// Parameters, gradients (zeroed) and boundaries of a whole model; parameters lie in their chunks as a run lays them.
struct SmallModel {
  Model model;
  std::vector<std::vector<at::Tensor>> parameters, gradients;  // per chunk
  std::vector<at::Tensor> boundaries;

  explicit SmallModel(const format::ModelConfig& config, std::uint64_t seed = 1)
      : SmallModel(make_model(config), seed) {}
  explicit SmallModel(Model made, std::uint64_t seed = 1) : model(std::move(made)) {
    for (const auto& chunk : model.chunks) {
      parameters.emplace_back();
      gradients.emplace_back();
      const plan::Chunk layout = chunk_layout(chunk);
      const at::Tensor values = at::zeros({layout.num_elements}), zeros = at::zeros({layout.num_elements});
      for (std::size_t i = 0; i < chunk.parameters.size(); ++i) {
        const auto& place = layout.parameters[i];
        ParameterSpec spec = chunk.parameters[i];
        spec.std = 0.2;
        if (spec.init == ParameterSpec::Init::Zeros) spec.init = ParameterSpec::Init::Normal;
        at::Tensor value = values.narrow(0, place.first_element, place.num_elements).view(place.shape);
        init_parameter(spec, seed, spec.first_element(),
                       {value.mutable_data_ptr<float>(), static_cast<std::size_t>(value.numel())});
        parameters.back().push_back(value);
        gradients.back().push_back(view_of(place, chunk.trained ? zeros : at::Tensor()));
      }
    }
  }

  /// Parameters and gradients become copies there, each with memory of its own.
  void move_to(c10::Device device) {
    for (auto* tensors : {&parameters, &gradients}) {
      for (auto& chunk : *tensors) {
        for (at::Tensor& tensor : chunk) {
          if (tensor.defined()) tensor = tensor.to(device, tensor.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
        }
      }
    }
  }

  BlockTensors tensors(std::size_t index, const MicroBatch& batch) const {
    const BlockEntry& entry = model.blocks[index];
    BlockTensors t;
    for (const auto [chunk, parameter] : parameter_places(model, entry)) {
      t.parameters.push_back(parameters[static_cast<std::size_t>(chunk)][static_cast<std::size_t>(parameter)]);
      t.gradients.push_back(gradients[static_cast<std::size_t>(chunk)][static_cast<std::size_t>(parameter)]);
    }
    if (entry.reads >= 0) t.input = boundaries[static_cast<std::size_t>(entry.reads)];
    if (entry.writes >= 0) t.output = boundaries[static_cast<std::size_t>(entry.writes)];
    t.batch = batch;
    return t;
  }

  void forward(const MicroBatch& batch) {
    boundaries.clear();
    const std::vector<std::int64_t> shape = {batch.input_ids.size(0), batch.input_ids.size(1), model.hidden_size};
    for (std::size_t i = 0; i + 1 < model.blocks.size(); ++i)
      boundaries.push_back(at::empty(shape, parameters[0][0].options()));
    for (std::size_t i = 0; i + 1 < model.blocks.size(); ++i) {
      run_forward(*model.blocks[i].block, tensors(i, batch));
    }
  }

  /// Forward and backward of one micro-batch, every block recomputed; gradients are added. Returns the loss sum.
  double step(const MicroBatch& batch, float scale) {
    forward(batch);
    at::Tensor gradient = at::empty_like(boundaries[0]);
    double loss = 0;
    for (std::size_t i = model.blocks.size(); i-- > 0;) {
      BlockTensors t = tensors(i, batch);
      t.scale = scale;
      t.output_gradient = gradient;
      if (t.input.defined()) t.input_gradient = gradient;
      loss += run_backward(*model.blocks[i].block, t);
    }
    return loss;
  }
};

/// A computation segment by segment, each given what it takes and nothing else. Returns the loss sum.
inline double run_segments(const Block& block, Computation computation, const BlockTensors& t) {
  BlockTensors part = t;
  const at::Tensor& like = t.parameters[0];
  part.scratch = at::full({block.scratch_elements({t.batch.input_ids.size(0), t.batch.input_ids.size(1)})},
                          std::numeric_limits<float>::quiet_NaN(), like.options());
  const std::vector<Segment> segments = block.segments(computation);
  double loss = 0;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    part.parameters.assign(t.parameters.size(), {});
    part.gradients.assign(t.gradients.size(), {});
    for (const int p : segments[i].parameters) part.parameters.at(p) = t.parameters.at(p);
    for (const int p : segments[i].gradients) part.gradients.at(p) = t.gradients.at(p);
    loss += run_segment(block, computation, static_cast<int>(i), part);
  }
  return loss;
}

/// Tied models whose 70001 x 128 floats of a table are two pieces of the vocabulary.
inline std::vector<format::ModelConfig> configs_in_pieces() {
  std::vector<format::ModelConfig> configs = {small_config(), small_gpt2_config()};
  for (format::ModelConfig& config : configs) {
    config.vocab_size = 70001;
    config.hidden_size = 128;
    config.num_heads = 4;
    config.head_dim = 32;
    config.max_position_embeddings = 256;
    config.tie_word_embeddings = true;
  }
  configs[1].num_kv_heads = 4;
  return configs;
}

inline std::vector<format::ModelConfig> all_configs() {
  std::vector<format::ModelConfig> configs = small_configs();
  for (const format::ModelConfig& config : configs_in_pieces()) configs.push_back(config);
  return configs;
}
inline std::string config_name(const testing::TestParamInfo<format::ModelConfig>& test) {
  return test.param.model_type + (test.param.vocab_size > 1000 ? "_pieces" : "");
}

/// While it lives, models compute with torch's operators on a device.
class WithTorch {
 public:
  explicit WithTorch(c10::Device device = at::kCPU) { compute_at({.device = device, .operators = Operators::Torch}); }
  ~WithTorch() { compute_at({}); }
  WithTorch(const WithTorch&) = delete;
  WithTorch& operator=(const WithTorch&) = delete;
};

inline bool same_bits(const at::Tensor& a, const at::Tensor& b) { return at::equal(a, b); }

}  // namespace sluice::model
