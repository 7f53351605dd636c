// config.json of GPT-2, with its own names of the sizes. Absent keys mean the defaults of transformers' GPT2Config.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "format/config_families.h"
#include "format/quote.h"

namespace sluice::format {
namespace {

constexpr std::array kSpellings = std::to_array<KeySpelling>({
    {"hidden_size", "n_embd"},
    {"num_hidden_layers", "n_layer"},
    {"num_attention_heads", "n_head"},
    {"max_position_embeddings", "n_positions"},
    {"intermediate_size", "n_inner"},
    {"rms_norm_eps", "layer_norm_epsilon"},
    {"hidden_act", "activation_function"},
});

// What would change the mathematics and is not computed.
void refuse_unsupported(const ConfigReader& reader, const ModelConfig& config) {
  const std::string& activation = config.hidden_act;
  if (activation != "gelu_new" && activation != "gelu_pytorch_tanh" && activation != "gelu")
    reader.unsupported("activation_function " + quote(activation), "expected gelu_new, gelu_pytorch_tanh or gelu");
  if (!reader.boolean("scale_attn_weights", true)) reader.unsupported("scale_attn_weights false", "expected true");
  for (const char* key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"})
    if (reader.boolean(key, false)) reader.unsupported(std::string(key) + " true", "expected false");
}

}  // namespace

std::span<const KeySpelling> gpt2_spellings() { return kSpellings; }

void read_gpt2_config(const ConfigReader& reader, ModelConfig& config) {
  config.vocab_size = reader.integer("vocab_size").value_or(50257);
  config.hidden_size = reader.integer("hidden_size").value_or(768);
  config.num_layers = reader.integer("num_hidden_layers").value_or(12);
  config.num_heads = config.num_kv_heads = reader.integer("num_attention_heads").value_or(12);
  config.max_position_embeddings = reader.integer("max_position_embeddings").value_or(1024);
  constexpr std::int64_t kNoOverflow = std::int64_t{1} << 40;  // sizes this large are refused anyway
  config.intermediate_size =
      reader.integer("intermediate_size").value_or(4 * std::clamp(config.hidden_size, -kNoOverflow, kNoOverflow));
  config.head_dim = reader.even_share(config.hidden_size, config.num_heads);
  config.rms_norm_eps = reader.number("rms_norm_eps", 1e-5);
  config.learned_positions = config.attention_bias = config.mlp_bias = true;
  config.tie_word_embeddings = reader.boolean("tie_word_embeddings", true);
  config.hidden_act = reader.text("hidden_act", "gelu_new");
  for (const char* key : {"resid_pdrop", "embd_pdrop", "attn_pdrop"})
    config.dropout = std::max(config.dropout, reader.number(key, 0.1));
  refuse_unsupported(reader, config);
}

void write_gpt2_config(nlohmann::ordered_json& root, const ModelConfig& config) {
  root["vocab_size"] = config.vocab_size;
  root["n_positions"] = config.max_position_embeddings;
  root["n_embd"] = config.hidden_size;
  root["n_layer"] = config.num_layers;
  root["n_head"] = config.num_heads;
  root["n_inner"] = nullptr;
  if (config.intermediate_size != 4 * config.hidden_size) root["n_inner"] = config.intermediate_size;
  root["activation_function"] = config.hidden_act;
  root["layer_norm_epsilon"] = config.rms_norm_eps;
  root["initializer_range"] = config.initializer_range;
  for (const char* key : {"resid_pdrop", "embd_pdrop", "attn_pdrop"}) root[key] = config.dropout;
  root["tie_word_embeddings"] = config.tie_word_embeddings;
}

}  // namespace sluice::format
