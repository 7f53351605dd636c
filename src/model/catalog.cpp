#include <array>

#include "model/families.h"
#include "model/model.h"

namespace sluice::model {

std::span<const ModelRow> model_catalog() {
  static constexpr std::array kRows = {
      ModelRow{"llama", "decoder with RMSNorm, rotary positions, grouped attention and SwiGLU (Llama, SmolLM)",
               &make_llama},
      ModelRow{"gpt2", "decoder with LayerNorm, learned positions, multi-head attention and GELU (GPT-2)", &make_gpt2},
  };
  return kRows;
}

Model make_model(const format::ModelConfig& config) {
  return find_row(model_catalog(), "model type", config.model_type).make(config);
}

std::vector<ParameterSpec> parameters_of(const Model& model, int block_index) {
  std::vector<ParameterSpec> specs;
  for (const int chunk : model.blocks.at(static_cast<std::size_t>(block_index)).chunks) {
    const auto& parameters = model.chunks[static_cast<std::size_t>(chunk)].parameters;
    specs.insert(specs.end(), parameters.begin(), parameters.end());
  }
  return specs;
}

}  // namespace sluice::model
