// What a model is, as its Hugging Face config.json (or GGUF metadata) says it. Strict and bounded: what this program
// cannot compute exactly is refused by name, never ignored.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::format {

/// How rotary frequencies are changed: "default" (not), "linear" (divided by factor) or "llama3" (smooth by
/// wavelength).
struct RopeScaling {
  std::string type = "default";
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  std::int64_t original_max_position_embeddings = 0;
};

/// One model. After `parse_model_config` all sizes are positive and bounded, num_heads is a multiple of num_kv_heads
/// and head_dim is even.
struct ModelConfig {
  std::string model_type;    ///< "llama", "gpt2"
  std::string architecture;  ///< "LlamaForCausalLM", "GPT2LMHeadModel"
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_layers = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-5;  ///< of the norms, whatever kind they are
  double rope_theta = 10000;
  double initializer_range = 0.02;
  RopeScaling rope_scaling;
  bool learned_positions = false;  ///< a table of max_position_embeddings rows instead of rotation
  bool attention_bias = false;
  bool mlp_bias = false;
  bool tie_word_embeddings = false;
  std::string hidden_act = "silu";  ///< "silu", "gelu" (exact), "gelu_new" and "gelu_pytorch_tanh" (by tanh)
  double dropout = 0;               ///< the largest probability that the config asks for; never applied
  std::optional<std::int64_t> bos_token_id;
  std::optional<std::int64_t> pad_token_id;
  std::vector<std::int64_t> eos_token_ids;
  std::string json;          ///< the config.json text, unknown keys kept
  std::string name_or_path;  ///< where it was read from
};

/// Reads the text of a config.json; `origin` names it in messages. Throws FormatError for a damaged or contradictory
/// text and ConfigError (naming architecture, rope type, activation or key) for what is sound but not supported.
ModelConfig parse_model_config(std::string_view json_text, std::string_view origin);

/// Same for a folder with config.json, a *.json file, or a FILE.gguf.
ModelConfig read_model_config(const std::filesystem::path& model);

/// The config.json text of `config` alone (its `json` is not looked at), rope in the spellings of transformers 4 and 5.
std::string make_config_json(const ModelConfig& config);

/// Throws FormatError when sizes are out of bounds or contradict each other. `parse_model_config` has done it already.
void check_model_config(const ModelConfig& config, std::string_view origin);

}  // namespace sluice::format
