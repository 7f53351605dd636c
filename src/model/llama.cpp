// The Llama family as blocks and chunks: embedding, layers, head. A tied head has only the final norm of its own and
// uses the embedding's chunk as well.
#include <utility>

#include "base/error.h"
#include "model/end_blocks.h"
#include "model/families.h"
#include "model/llama_layer.h"

namespace sluice::model {

Model make_llama(const format::ModelConfig& config) {
  if (config.hidden_act != "silu") {
    throw ConfigError("model.llama", "unsupported activation '" + config.hidden_act + "'", "supported is silu");
  }
  using Init = ParameterSpec::Init;
  const std::vector<std::int64_t> table_shape = {config.vocab_size, config.hidden_size};
  const double std = config.initializer_range;
  Model model;
  model.hidden_size = config.hidden_size;
  model.vocab_size = config.vocab_size;
  const auto add = [&](ChunkSpec chunk, std::unique_ptr<Block> block) {
    const int index = static_cast<int>(model.chunks.size());
    model.chunks.push_back(std::move(chunk));
    model.blocks.push_back({std::move(block), {index}, index - 1, index});
  };
  add({"embed_tokens", {{"model.embed_tokens.weight", table_shape, Init::Normal, std}}},
      make_embedding_block(config, "embed_tokens"));
  for (std::int64_t i = 0; i < config.num_layers; ++i) {
    const std::string name = "layers." + std::to_string(i);
    add({name, layer_parameters(config, "model." + name + ".")}, make_llama_layer(config, name));
  }
  ChunkSpec head{"head", {{"model.norm.weight", {config.hidden_size}, Init::Ones, 0}}};
  if (!config.tie_word_embeddings) head.parameters.push_back({"lm_head.weight", table_shape, Init::Normal, std});
  add(std::move(head), make_loss_head(config, {Norm::Kind::Rms, config.rms_norm_eps}, "head"));
  if (config.tie_word_embeddings) model.blocks.back().chunks.push_back(0);
  model.blocks.back().writes = -1;
  return model;
}

}  // namespace sluice::model
