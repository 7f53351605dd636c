// The Llama family as blocks and chunks: embedding, layers, head. The tables are chunks by pieces of the vocabulary; a
// tied head has only the final norm of its own and uses the embedding's as well.
#include <utility>

#include "base/error.h"
#include "model/end_blocks.h"
#include "model/families.h"
#include "model/llama_layer.h"
#include "model/vocabulary.h"

namespace sluice::model {

Model make_llama(const format::ModelConfig& config, const ModelChoices& choices) {
  if (config.hidden_act != "silu") {
    throw ConfigError("model.llama", "unsupported activation '" + config.hidden_act + "'", "supported is silu");
  }
  using Init = ParameterSpec::Init;
  Model model;
  model.hidden_size = config.hidden_size;
  model.vocab_size = config.vocab_size;
  const auto add_chunk = [&](ChunkSpec chunk) {
    model.chunks.push_back(std::move(chunk));
    return static_cast<int>(model.chunks.size()) - 1;
  };
  const auto add_block = [&](std::unique_ptr<Block> block, std::vector<int> chunks) {
    const int index = static_cast<int>(model.blocks.size());
    model.blocks.push_back({std::move(block), std::move(chunks), index - 1, index});
  };
  const std::vector<VocabularyPiece> pieces = vocabulary_pieces(config, layer_parameters(config, ""), choices.tables);
  const auto table = [&](const std::string& chunk, const std::string& parameter) {
    const std::vector<std::int64_t> shape = {config.vocab_size, config.hidden_size};
    return add_table(model, pieces, chunk, {parameter, shape, Init::Normal, config.initializer_range});
  };
  std::vector<int> tokens = table("embed_tokens", "model.embed_tokens.weight");
  add_block(make_embedding_block(config, pieces, "embed_tokens"), tokens);
  for (std::int64_t i = 0; i < config.num_layers; ++i) {
    const std::string name = "layers." + std::to_string(i);
    const int chunk = add_chunk({name, layer_parameters(config, "model." + name + ".")});
    add_block(make_llama_layer(config, name, choices.compute), {chunk});
  }
  std::vector<int> head = {add_chunk({"head", {{"model.norm.weight", {config.hidden_size}, Init::Ones, 0}}})};
  if (!config.tie_word_embeddings) tokens = table("lm_head", "lm_head.weight");
  head.insert(head.end(), tokens.begin(), tokens.end());
  add_block(make_loss_head(pieces, {Norm::Kind::Rms, config.rms_norm_eps}, "head", choices.compute), std::move(head));
  model.blocks.back().writes = -1;
  return model;
}

}  // namespace sluice::model
