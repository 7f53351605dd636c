#include "format/model_config.h"

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "format/gguf_model.h"
#include "format/quote.h"
#include "format/rope_json.h"
#include "format/strict_json.h"

namespace sluice::format {
namespace {

using nlohmann::json;

// Families whose blocks are those of llama; a new one is a row here when its config says nothing else.
struct ArchitectureRow {
  std::string_view model_type;
  std::string_view architecture;
};
constexpr std::array kArchitectures = std::to_array<ArchitectureRow>({
    {"llama", "LlamaForCausalLM"},
    {"mistral", "MistralForCausalLM"},
});

struct Bound {
  const char* key;
  std::int64_t ModelConfig::*field;
  std::int64_t largest;
};
constexpr std::array kBounds = std::to_array<Bound>({
    {"vocab_size", &ModelConfig::vocab_size, std::int64_t{1} << 24},
    {"hidden_size", &ModelConfig::hidden_size, std::int64_t{1} << 18},
    {"intermediate_size", &ModelConfig::intermediate_size, std::int64_t{1} << 20},
    {"num_hidden_layers", &ModelConfig::num_layers, 4096},
    {"num_attention_heads", &ModelConfig::num_heads, 4096},
    {"num_key_value_heads", &ModelConfig::num_kv_heads, 4096},
    {"head_dim", &ModelConfig::head_dim, 8192},
    {"max_position_embeddings", &ModelConfig::max_position_embeddings, std::int64_t{1} << 30},
});

class ConfigReader {
 public:
  ConfigReader(const json& root, std::string_view origin) : root_(root), origin_(origin) {}

  [[noreturn]] void refuse(const std::string& what, const std::string& expected_got) const {
    throw FormatError("format.config", origin_ + ": " + what, expected_got, "correct config.json");
  }
  [[noreturn]] void unsupported(const std::string& what, const std::string& expected_got) const {
    throw ConfigError("format.config", origin_ + ": " + what + " is not supported", expected_got);
  }
  const json* member(const char* key) const {
    const auto found = root_.find(key);
    return found == root_.end() || found->is_null() ? nullptr : &*found;
  }
  bool has(const char* key) const { return root_.contains(key); }
  std::optional<std::int64_t> integer(const char* key) const {
    const json* value = member(key);
    if (value == nullptr) return std::nullopt;
    return to_integer(*value, key);
  }
  std::int64_t required(const char* key) const {
    const auto value = integer(key);
    if (!value) refuse(key, "expected an integer, got nothing");
    return *value;
  }
  double number(const char* key, double fallback) const {
    const json* value = member(key);
    if (value == nullptr) return fallback;
    if (!value->is_number() || !std::isfinite(value->get<double>())) refuse(key, "expected a number");
    return value->get<double>();
  }
  bool boolean(const char* key, bool fallback) const {
    const json* value = member(key);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) refuse(key, "expected true or false");
    return value->get<bool>();
  }
  std::string text(const char* key, const std::string& fallback) const {
    const json* value = member(key);
    if (value == nullptr) return fallback;
    if (!value->is_string()) refuse(key, "expected a string");
    return value->get<std::string>();
  }
  std::int64_t to_integer(const json& value, const char* key) const {
    const bool fits = value.is_number_integer() &&
                      (!value.is_number_unsigned() || value.get<std::uint64_t>() < (std::uint64_t{1} << 62));
    if (!fits) refuse(key, "expected an integer below 2^62");
    return value.get<std::int64_t>();
  }

 private:
  const json& root_;
  std::string origin_;
};

void read_architecture(const ConfigReader& reader, ModelConfig& config) {
  config.model_type = reader.text("model_type", "");
  std::string known;
  for (const ArchitectureRow& row : kArchitectures) {
    known += (known.empty() ? "" : ", ") + std::string(row.model_type);
    if (row.model_type == config.model_type) config.architecture = row.architecture;
  }
  if (config.architecture.empty()) reader.unsupported("model_type " + quote(config.model_type), "known are " + known);
  const json* list = reader.member("architectures");
  if (list == nullptr) return;
  if (!list->is_array()) reader.refuse("architectures", "expected a list");
  for (const json& name : *list)
    if (name != config.architecture)
      reader.unsupported("architecture " + quote(name.is_string() ? name.get<std::string>() : name.dump()),
                         "expected " + config.architecture);
}

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
  if (const auto head_dim = reader.integer("head_dim")) {
    config.head_dim = *head_dim;
  } else {
    if (config.num_heads <= 0 || config.hidden_size % config.num_heads != 0)
      reader.refuse("hidden_size", "expected a multiple of num_attention_heads when head_dim is absent");
    config.head_dim = config.hidden_size / config.num_heads;
  }
}

// Old configs say "none" as -1.
std::optional<std::int64_t> read_token(const ConfigReader& reader, const char* key) {
  const auto id = reader.integer(key);
  return id == -1 ? std::nullopt : id;
}

void read_tokens(const ConfigReader& reader, ModelConfig& config) {
  config.bos_token_id = read_token(reader, "bos_token_id");
  config.pad_token_id = read_token(reader, "pad_token_id");
  const json* eos = reader.member("eos_token_id");
  if (eos == nullptr) return;
  if (eos->is_array()) {
    if (eos->size() > 1024) reader.refuse("eos_token_id", "expected at most 1024 ids");
    for (const json& id : *eos) config.eos_token_ids.push_back(reader.to_integer(id, "eos_token_id"));
  } else if (const auto id = read_token(reader, "eos_token_id")) {
    config.eos_token_ids = {*id};
  }
}

// What would change the mathematics and is not computed.
void refuse_unsupported(const ConfigReader& reader, const ModelConfig& config) {
  if (reader.member("quantization_config") != nullptr)
    reader.unsupported("quantization_config", "expected plain weights, got quantised ones");
  if (reader.boolean("rope_interleaved", false)) reader.unsupported("rope_interleaved", "expected false");
  if (config.hidden_act != "silu") reader.unsupported("hidden_act " + quote(config.hidden_act), "expected silu");
  if (config.model_type == "mistral") {
    const auto window = reader.integer("sliding_window");
    if (!window && !reader.has("sliding_window"))
      reader.refuse("sliding_window", "expected null or a number, got nothing");
    if (window && *window < config.max_position_embeddings)
      reader.unsupported("sliding_window " + std::to_string(*window),
                         "expected null or at least max_position_embeddings");
  }
  if (reader.number("attention_dropout", 0) != 0) log_warning("attention_dropout in the model's config is not applied");
}

}  // namespace

void check_model_config(const ModelConfig& config, std::string_view origin) {
  const auto refuse = [&](const std::string& what, const std::string& expected_got) {
    throw FormatError("format.config", std::string(origin) + ": " + what, expected_got, "correct config.json");
  };
  for (const Bound& bound : kBounds) {
    const std::int64_t value = config.*bound.field;
    if (value < 1 || value > bound.largest)
      refuse(bound.key, "expected 1 to " + std::to_string(bound.largest) + ", got " + std::to_string(value));
  }
  if (config.num_heads % config.num_kv_heads != 0)
    refuse("num_key_value_heads",
           "expected a divisor of num_attention_heads, got " + std::to_string(config.num_kv_heads));
  if (config.head_dim % 2 != 0) refuse("head_dim", "expected an even number, got " + std::to_string(config.head_dim));
  if (config.num_heads * config.head_dim > (std::int64_t{1} << 20))
    refuse("num_attention_heads * head_dim", "expected at most 2^20");
  if (!(config.rms_norm_eps > 0) || config.rms_norm_eps > 1) refuse("rms_norm_eps", "expected a number in (0, 1]");
  if (!(config.initializer_range >= 0) || config.initializer_range > 100)
    refuse("initializer_range", "expected a number in [0, 100]");
  const auto check_token = [&](const char* key, std::int64_t id) {
    if (id < 0 || id >= config.vocab_size)
      refuse(key, "expected below vocab_size " + std::to_string(config.vocab_size) + ", got " + std::to_string(id));
  };
  if (config.bos_token_id) check_token("bos_token_id", *config.bos_token_id);
  if (config.pad_token_id) check_token("pad_token_id", *config.pad_token_id);
  for (const std::int64_t id : config.eos_token_ids) check_token("eos_token_id", id);
}

ModelConfig parse_model_config(std::string_view json_text, std::string_view origin) {
  const json root = parse_json_object(json_text, origin);
  const ConfigReader reader(root, origin);
  ModelConfig config;
  read_architecture(reader, config);
  read_sizes(reader, config);
  config.rms_norm_eps = reader.number("rms_norm_eps", 1e-6);
  config.initializer_range = reader.number("initializer_range", 0.02);
  config.attention_bias = reader.boolean("attention_bias", false);
  config.mlp_bias = reader.boolean("mlp_bias", false);
  config.tie_word_embeddings = reader.boolean("tie_word_embeddings", false);
  config.hidden_act = reader.text("hidden_act", "silu");
  read_tokens(reader, config);
  check_model_config(config, origin);
  read_rope(root, origin, config);
  refuse_unsupported(reader, config);
  config.json = json_text;
  config.name_or_path = origin;
  return config;
}

ModelConfig read_model_config(const std::filesystem::path& model) {
  if (model.extension() == ".gguf") {
    ModelConfig config = gguf_model_config(GgufFile(model));
    config.name_or_path = model.string();
    return config;
  }
  const bool is_folder = std::filesystem::is_directory(model);
  if (!is_folder && model.extension() != ".json")
    throw ConfigError(
        "format.config", "cannot read a model config from " + model.string(),
        "expected a folder with config.json, a .json file or a .gguf file",
        std::filesystem::exists(model) ? "give the model's folder" : "check the path: there is nothing there");
  const std::filesystem::path file = is_folder ? model / "config.json" : model;
  if (!std::filesystem::exists(file))
    throw ConfigError("format.config", "no model config at " + file.string(), "expected a config.json",
                      "give the folder of a Hugging Face model, or a .gguf file");
  ModelConfig config = parse_model_config(read_text(file, 4 * MiB), file.string());
  config.name_or_path = model.string();
  return config;
}

std::string make_config_json(const ModelConfig& config) {
  nlohmann::ordered_json root;
  root["architectures"] = {config.architecture};
  root["model_type"] = config.model_type;
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
  if (config.bos_token_id) root["bos_token_id"] = *config.bos_token_id;
  if (config.eos_token_ids.size() == 1) root["eos_token_id"] = config.eos_token_ids.front();
  if (config.eos_token_ids.size() > 1) root["eos_token_id"] = config.eos_token_ids;
  if (config.pad_token_id) root["pad_token_id"] = *config.pad_token_id;
  return root.dump(2) + "\n";
}

}  // namespace sluice::format
