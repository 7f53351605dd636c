#include "format/gguf_model.h"

#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "base/error.h"
#include "format/quote.h"

namespace sluice::format {
namespace {

[[noreturn]] void unsupported(const GgufFile& file, const std::string& what, const std::string& expected_got) {
  throw ConfigError("format.gguf", file.name() + ": " + what + " is not supported", expected_got);
}

[[noreturn]] void refuse(const GgufFile& file, const std::string& what, const std::string& expected_got) {
  throw FormatError("format.gguf", file.name() + ": " + what, expected_got, "convert the model again");
}

struct NameRow {
  std::string_view gguf;
  std::string_view hugging_face;
};
constexpr std::array kModelNames = std::to_array<NameRow>({
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
});
constexpr std::array kLayerNames = std::to_array<NameRow>({
    {"attn_norm", "input_layernorm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
});

template <std::size_t N>
std::string_view translate(const std::array<NameRow, N>& rows, std::string_view name) {
  for (const NameRow& row : rows)
    if (row.gguf == name) return row.hugging_face;
  return {};
}

// Keys hold fp32: 1e-5 comes back as 9.99999975e-06. The shortest decimal of the float is what the author wrote.
double written_value(double value) {
  const auto narrow = static_cast<float>(value);
  if (static_cast<double>(narrow) != value) return value;
  std::array<char, 64> text;
  const auto printed = std::to_chars(text.data(), text.data() + text.size(), narrow);
  double result = value;
  std::from_chars(text.data(), printed.ptr, result);
  return result;
}

// Converters store Llama 3 scaling as one factor per frequency. The published settings give those factors back; others
// are refused rather than guessed. Formula: transformers' modeling_rope_utils, `llama3`.
RopeScaling recognise_rope_factors(const GgufFile& file, const GgufTensor& tensor, const ModelConfig& config) {
  if (tensor.num_elements() != config.head_dim / 2)
    refuse(file, "rope_freqs.weight", "expected head_dim / 2 factors, got " + std::to_string(tensor.num_elements()));
  std::vector<float> factors(static_cast<std::size_t>(tensor.num_elements()));
  read_widened({&file.source(), tensor.offset, tensor.type, tensor.num_elements()}, 0, factors);
  RopeScaling scaling{.type = "llama3",
                      .factor = factors.back(),
                      .low_freq_factor = 1,
                      .high_freq_factor = 4,
                      .original_max_position_embeddings = 8192};
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim);
    const double wavelength = 2 * std::numbers::pi * std::pow(config.rope_theta, exponent);
    const double smooth = (8192 / wavelength - 1) / 3;
    const double expected = smooth >= 1   ? 1
                            : smooth <= 0 ? scaling.factor
                                          : 1 / ((1 - smooth) / scaling.factor + smooth);
    if (!(std::abs(factors[i] - expected) <= 1e-3 * expected))
      unsupported(file, "this scaling of rotary frequencies",
                  "expected that of Llama 3 (low 1, high 4, length 8192), got factor " + std::to_string(factors[i]) +
                      " at frequency " + std::to_string(i));
  }
  return scaling;
}

void read_gguf_rope(const GgufFile& file, ModelConfig& config) {
  config.rope_theta = written_value(file.number("llama.rope.freq_base").value_or(10000));
  if (!(config.rope_theta > 0)) refuse(file, "llama.rope.freq_base", "expected a positive number");
  const auto rotated = file.integer("llama.rope.dimension_count").value_or(config.head_dim);
  if (rotated != config.head_dim)
    unsupported(
        file, "partial rotation",
        "expected llama.rope.dimension_count " + std::to_string(config.head_dim) + ", got " + std::to_string(rotated));
  const std::string* type = file.text("llama.rope.scaling.type");
  const double legacy = file.number("llama.rope.scale_linear").value_or(1);
  if (type != nullptr && *type != "none" && *type != "linear")
    unsupported(file, "rope scaling " + quote(*type), "expected none or linear");
  if ((type != nullptr && *type == "linear") || legacy != 1) {
    const double factor = written_value(file.number("llama.rope.scaling.factor").value_or(legacy));
    if (!(factor > 0)) refuse(file, "llama.rope.scaling.factor", "expected a positive number");
    config.rope_scaling = {.type = "linear", .factor = factor};
  }
  if (const GgufTensor* factors = file.find("rope_freqs.weight"))
    config.rope_scaling = recognise_rope_factors(file, *factors, config);
}

void refuse_other_kinds(const GgufFile& file) {
  const std::string* architecture = file.text("general.architecture");
  if (architecture == nullptr) refuse(file, "general.architecture", "expected a name, got nothing");
  if (*architecture != "llama") unsupported(file, "architecture " + quote(*architecture), "expected llama");
  if (file.integer("split.count").value_or(1) > 1)
    unsupported(file, "a model split over several GGUF files", "merge them with llama-gguf-split --merge");
  if (file.integer("llama.expert_count").value_or(0) > 0)
    unsupported(file, "a mixture of experts", "expected llama.expert_count 0");
  if (file.integer("llama.attention.sliding_window").value_or(0) > 0)
    unsupported(file, "llama.attention.sliding_window", "expected none");
}

std::int64_t required(const GgufFile& file, const char* key) {
  const auto value = file.integer(key);
  if (!value) refuse(file, key, "expected an integer, got nothing");
  return *value;
}

void read_gguf_sizes(const GgufFile& file, ModelConfig& config) {
  config.hidden_size = required(file, "llama.embedding_length");
  config.intermediate_size = required(file, "llama.feed_forward_length");
  config.num_layers = required(file, "llama.block_count");
  config.num_heads = required(file, "llama.attention.head_count");
  config.num_kv_heads = file.integer("llama.attention.head_count_kv").value_or(config.num_heads);
  config.max_position_embeddings = required(file, "llama.context_length");
  if (config.num_heads < 1) refuse(file, "llama.attention.head_count", "expected 1 or more");
  config.head_dim = file.integer("llama.attention.key_length").value_or(config.hidden_size / config.num_heads);
  if (const auto value_length = file.integer("llama.attention.value_length");
      value_length && *value_length != config.head_dim)
    unsupported(file, "llama.attention.value_length " + std::to_string(*value_length),
                "expected " + std::to_string(config.head_dim));
  const GgufTensor* embedding = file.find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) refuse(file, "token_embd.weight", "expected a matrix");
  config.vocab_size = embedding->shape[0];
  if (const auto stated = file.integer("llama.vocab_size"); stated && *stated != config.vocab_size)
    refuse(file, "llama.vocab_size " + std::to_string(*stated),
           "expected the rows of token_embd.weight " + std::to_string(config.vocab_size));
  if (const auto* tokens = file.texts("tokenizer.ggml.tokens");
      tokens != nullptr && static_cast<std::int64_t>(tokens->size()) > config.vocab_size)
    refuse(file, "tokenizer.ggml.tokens",
           "expected at most " + std::to_string(config.vocab_size) + " tokens, got " + std::to_string(tokens->size()));
}

}  // namespace

ModelConfig gguf_model_config(const GgufFile& file) {
  refuse_other_kinds(file);
  ModelConfig config;
  config.model_type = "llama";
  config.architecture = "LlamaForCausalLM";
  read_gguf_sizes(file, config);
  config.rms_norm_eps = written_value(file.number("llama.attention.layer_norm_rms_epsilon").value_or(1e-5));
  config.tie_word_embeddings = file.find("output.weight") == nullptr;
  config.attention_bias = file.find("blk.0.attn_q.bias") != nullptr;
  config.mlp_bias = file.find("blk.0.ffn_gate.bias") != nullptr;
  config.bos_token_id = file.integer("tokenizer.ggml.bos_token_id");
  config.pad_token_id = file.integer("tokenizer.ggml.padding_token_id");
  if (const auto eos = file.integer("tokenizer.ggml.eos_token_id")) config.eos_token_ids = {*eos};
  check_model_config(config, file.name());
  read_gguf_rope(file, config);
  config.json = make_config_json(config);
  config.name_or_path = file.name();
  return config;
}

std::string gguf_generation_config(const GgufFile& file) {
  nlohmann::ordered_json root;
  if (const auto id = file.integer("tokenizer.ggml.bos_token_id")) root["bos_token_id"] = *id;
  const auto eos = file.integer("tokenizer.ggml.eos_token_id");
  const auto turn_end = file.integer("tokenizer.ggml.eot_token_id");
  if (eos && turn_end && *turn_end != *eos) {
    root["eos_token_id"] = {*eos, *turn_end};
  } else if (eos) {
    root["eos_token_id"] = *eos;
  }
  if (const auto id = file.integer("tokenizer.ggml.padding_token_id")) root["pad_token_id"] = *id;
  return (root.is_null() ? std::string("{}") : root.dump(2)) + "\n";
}

std::string hugging_face_name(std::string_view gguf_name) {
  const auto dot = gguf_name.rfind('.');
  if (dot == std::string_view::npos) return {};
  const std::string_view suffix = gguf_name.substr(dot);
  std::string_view stem = gguf_name.substr(0, dot);
  if (suffix != ".weight" && suffix != ".bias") return {};
  std::string prefix;
  std::string_view found = translate(kModelNames, stem);
  if (stem.starts_with("blk.")) {
    stem.remove_prefix(4);
    const auto end = stem.find('.');
    if (end == std::string_view::npos || end == 0 || end > 4 || stem.find_first_not_of("0123456789") != end ||
        (stem[0] == '0' && end > 1))
      return {};
    prefix = "model.layers." + std::string(stem.substr(0, end)) + ".";
    found = translate(kLayerNames, stem.substr(end + 1));
  }
  if (found.empty()) return {};
  return prefix + std::string(found) + std::string(suffix);
}

}  // namespace sluice::format
