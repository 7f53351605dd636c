// The GPT-2 family as blocks and chunks: token and position embedding, layers, head. The tables of tokens are
// chunks by pieces of the vocabulary; a tied head has only the final norm of its own and uses the embedding's as well.
#include <utility>

#include "model/end_blocks.h"
#include "model/families.h"
#include "model/gpt2_layer.h"
#include "model/vocabulary.h"

namespace sluice::model {

Model make_gpt2(const format::ModelConfig& config, const ModelChoices& choices) {
  using Init = ParameterSpec::Init;
  const std::int64_t d = config.hidden_size;
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
  const std::vector<VocabularyPiece> pieces =
      vocabulary_pieces(config, gpt2_layer_parameters(config, ""), choices.tables);
  const auto table = [&](const std::string& chunk, const std::string& parameter) {
    return add_table(model, pieces, chunk, {parameter, {config.vocab_size, d}, Init::Normal, std});
  };
  std::vector<int> tokens = table("wte", "transformer.wte.weight"), embedding = tokens;
  embedding.push_back(add_chunk({"wpe", {{"transformer.wpe.weight", {model.max_positions, d}, Init::Normal, std}}}));
  add_block(make_embedding_block(config, pieces, "embed"), std::move(embedding));
  for (std::int64_t i = 0; i < config.num_layers; ++i) {
    const std::string name = "h." + std::to_string(i);
    const int chunk = add_chunk({name, gpt2_layer_parameters(config, "transformer." + name + ".")});
    add_block(make_gpt2_layer(config, name, choices.compute), {chunk});
  }
  std::vector<int> head = {add_chunk(
      {"head", {{"transformer.ln_f.weight", {d}, Init::Ones, 0}, {"transformer.ln_f.bias", {d}, Init::Zeros, 0}}})};
  if (!config.tie_word_embeddings) tokens = table("lm_head", "lm_head.weight");
  head.insert(head.end(), tokens.begin(), tokens.end());
  add_block(make_loss_head(pieces, {Norm::Kind::Layer, config.rms_norm_eps}, "head", choices.compute), std::move(head));
  model.blocks.back().writes = -1;
  return model;
}

}  // namespace sluice::model
