// config.json of Llama, and of families whose blocks are those of Llama when their config says nothing else.
#include <nlohmann/json.hpp>

#include "format/config_families.h"
#include "format/quote.h"
#include "format/rope_json.h"

namespace sluice::format {
namespace {

void read_sizes(const ConfigReader& reader, ModelConfig& config) {
  config.vocab_size = reader.required("vocab_size");
  config.hidden_size = reader.required("hidden_size");
  config.intermediate_size = reader.required("intermediate_size");
  config.num_layers = reader.required("num_hidden_layers");
  config.num_heads = reader.required("num_attention_heads");
  // Absent keys mean the defaults of the family's own config class; only those of llama are known here.
  const bool has_defaults = config.model_type == "llama";
  config.num_kv_heads = has_defaults ? reader.integer("num_key_value_heads").value_or(config.num_heads)
                                     : reader.required("num_key_value_heads");
  config.max_position_embeddings = has_defaults ? reader.integer("max_position_embeddings").value_or(2048)
                                                : reader.required("max_position_embeddings");
  const auto head_dim = reader.integer("head_dim");
  config.head_dim = head_dim ? *head_dim : reader.even_share(config.hidden_size, config.num_heads);
}

// What would change the mathematics and is not computed.
void refuse_unsupported(const ConfigReader& reader, const ModelConfig& config) {
  if (reader.boolean("rope_interleaved", false)) reader.unsupported("rope_interleaved", "expected false");
  if (config.hidden_act != "silu") reader.unsupported("hidden_act " + quote(config.hidden_act), "expected silu");
  if (config.model_type != "mistral") return;
  const auto window = reader.integer("sliding_window");
  if (!window && !reader.has("sliding_window"))
    reader.refuse("sliding_window", "expected null or a number, got nothing");
  if (window && *window < config.max_position_embeddings)
    reader.unsupported("sliding_window " + std::to_string(*window),
                       "expected null or at least max_position_embeddings");
}

}  // namespace

void read_llama_config(const ConfigReader& reader, ModelConfig& config) {
  read_sizes(reader, config);
  config.rms_norm_eps = reader.number("rms_norm_eps", 1e-6);
  config.attention_bias = reader.boolean("attention_bias", false);
  config.mlp_bias = reader.boolean("mlp_bias", false);
  config.tie_word_embeddings = reader.boolean("tie_word_embeddings", false);
  config.hidden_act = reader.text("hidden_act", "silu");
  config.dropout = reader.number("attention_dropout", 0);
  read_rope(reader.root(), reader.origin(), config);
  refuse_unsupported(reader, config);
}

void write_llama_config(nlohmann::ordered_json& root, const ModelConfig& config) {
  root["vocab_size"] = config.vocab_size;
  root["hidden_size"] = config.hidden_size;
  root["intermediate_size"] = config.intermediate_size;
  root["num_hidden_layers"] = config.num_layers;
  root["num_attention_heads"] = config.num_heads;
  root["num_key_value_heads"] = config.num_kv_heads;
  root["head_dim"] = config.head_dim;
  root["max_position_embeddings"] = config.max_position_embeddings;
  root["rms_norm_eps"] = config.rms_norm_eps;
  add_rope(root, config);
  root["initializer_range"] = config.initializer_range;
  root["attention_bias"] = config.attention_bias;
  root["mlp_bias"] = config.mlp_bias;
  root["tie_word_embeddings"] = config.tie_word_embeddings;
  root["hidden_act"] = config.hidden_act;
  if (config.model_type == "mistral") root["sliding_window"] = nullptr;
}

}  // namespace sluice::format
