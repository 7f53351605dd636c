// The GPT-2 family as blocks and chunks: token and position embedding, layers, head. A tied head has only the final
// norm of its own and uses the token table's chunk as well.
#include <utility>

#include "model/end_blocks.h"
#include "model/families.h"
#include "model/gpt2_layer.h"

namespace sluice::model {

Model make_gpt2(const format::ModelConfig& config) {
  using Init = ParameterSpec::Init;
  const std::int64_t d = config.hidden_size;
  const std::vector<std::int64_t> table_shape = {config.vocab_size, d};
  const double std = config.initializer_range;
  Model model;
  model.hidden_size = d;
  model.vocab_size = config.vocab_size;
  model.max_positions = config.max_position_embeddings;
  const auto add_chunk = [&](ChunkSpec chunk) {
    model.chunks.push_back(std::move(chunk));
    return static_cast<int>(model.chunks.size()) - 1;
  };
  const auto add_block = [&](std::unique_ptr<Block> block, std::vector<int> chunks) {
    const int index = static_cast<int>(model.blocks.size());
    model.blocks.push_back({std::move(block), std::move(chunks), index - 1, index});
  };
  const int tokens = add_chunk({"wte", {{"transformer.wte.weight", table_shape, Init::Normal, std}}});
  const int positions = add_chunk({"wpe", {{"transformer.wpe.weight", {model.max_positions, d}, Init::Normal, std}}});
  add_block(make_embedding_block(config, "embed"), {tokens, positions});
  for (std::int64_t i = 0; i < config.num_layers; ++i) {
    const std::string name = "h." + std::to_string(i);
    const int chunk = add_chunk({name, gpt2_layer_parameters(config, "transformer." + name + ".")});
    add_block(make_gpt2_layer(config, name), {chunk});
  }
  ChunkSpec head{"head",
                 {{"transformer.ln_f.weight", {d}, Init::Ones, 0}, {"transformer.ln_f.bias", {d}, Init::Zeros, 0}}};
  if (!config.tie_word_embeddings) head.parameters.push_back({"lm_head.weight", table_shape, Init::Normal, std});
  std::vector<int> head_chunks = {add_chunk(std::move(head))};
  if (config.tie_word_embeddings) head_chunks.push_back(tokens);
  add_block(make_loss_head(config, {Norm::Kind::Layer, config.rms_norm_eps}, "head"), std::move(head_chunks));
  model.blocks.back().writes = -1;
  return model;
}

}  // namespace sluice::model
