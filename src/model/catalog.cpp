#include <array>

#include "model/families.h"
#include "model/model.h"

namespace sluice::model {

std::span<const ModelRow> model_catalog() {
  static constexpr std::array kRows = {
      ModelRow{"llama", "decoder with RMSNorm, rotary positions, grouped attention and SwiGLU (Llama, SmolLM)",
               &make_llama},
      ModelRow{"mistral", "Llama's decoder under Mistral's name, where no window slides (Mistral 7B from v0.2 on)",
               &make_llama},
      ModelRow{"gpt2", "decoder with LayerNorm, learned positions, multi-head attention and GELU (GPT-2)", &make_gpt2},
  };
  return kRows;
}

Model make_model(const format::ModelConfig& config, const ModelChoices& choices) {
  return find_row(model_catalog(), "model type", config.model_type).make(config, choices);
}

std::vector<ParameterPlace> parameter_places(const Model& model, const BlockEntry& entry) {
  if (!entry.order.empty()) return entry.order;
  std::vector<ParameterPlace> places;
  for (const int chunk : entry.chunks) {
    const auto count = static_cast<int>(model.chunks[static_cast<std::size_t>(chunk)].parameters.size());
    for (int parameter = 0; parameter < count; ++parameter) places.push_back({chunk, parameter});
  }
  return places;
}

std::vector<ParameterSpec> parameters_of(const Model& model, int block_index) {
  std::vector<ParameterSpec> specs;
  for (const auto [chunk, parameter] : parameter_places(model, model.blocks.at(static_cast<std::size_t>(block_index))))
    specs.push_back(model.chunks[static_cast<std::size_t>(chunk)].parameters[static_cast<std::size_t>(parameter)]);
  return specs;
}

}  // namespace sluice::model
