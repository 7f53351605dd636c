#include "format/model_config.h"

#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "format/config_families.h"
#include "format/gguf_model.h"
#include "format/quote.h"
#include "format/strict_json.h"

namespace sluice::format {
namespace {

using nlohmann::json;

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

const ConfigFamily& read_family(const ConfigReader& reader, ModelConfig& config) {
  config.model_type = reader.text("model_type", "");
  const ConfigFamily* family = find_config_family(config.model_type);
  if (family == nullptr) {
    std::string known;
    for (const ConfigFamily& row : config_families())
      known += (known.empty() ? "" : ", ") + std::string(row.model_type);
    reader.unsupported("model_type " + quote(config.model_type), "known are " + known);
  }
  config.architecture = family->architecture;
  const json* list = reader.member("architectures");
  if (list == nullptr) return *family;
  if (!list->is_array()) reader.refuse("architectures", "expected a list");
  for (const json& name : *list)
    if (name != config.architecture)
      reader.unsupported("architecture " + quote(name.is_string() ? name.get<std::string>() : name.dump()),
                         "expected " + config.architecture);
  return *family;
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

}  // namespace

void check_model_config(const ModelConfig& config, std::string_view origin) {
  const auto refuse = [&](const std::string& what, const std::string& expected_got) {
    throw FormatError("format.config", std::string(origin) + ": " + what, expected_got, "correct config.json");
  };
  const ConfigFamily* family = find_config_family(config.model_type);
  const auto own = [&](const char* key) {
    return std::string(family == nullptr ? key : spelled(family->spellings, key));
  };
  for (const Bound& bound : kBounds) {
    const std::int64_t value = config.*bound.field;
    if (value < 1 || value > bound.largest)
      refuse(own(bound.key), "expected 1 to " + std::to_string(bound.largest) + ", got " + std::to_string(value));
  }
  if (config.num_heads % config.num_kv_heads != 0)
    refuse("num_key_value_heads",
           "expected a divisor of num_attention_heads, got " + std::to_string(config.num_kv_heads));
  if (config.head_dim % 2 != 0) refuse("head_dim", "expected an even number, got " + std::to_string(config.head_dim));
  if (config.num_heads * config.head_dim > (std::int64_t{1} << 20))
    refuse("num_attention_heads * head_dim", "expected at most 2^20");
  if (!(config.rms_norm_eps > 0) || config.rms_norm_eps > 1) refuse(own("rms_norm_eps"), "expected a number in (0, 1]");
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
  ModelConfig config;
  const ConfigFamily& family = read_family({root, origin}, config);
  const ConfigReader reader(root, origin, family.spellings);
  if (reader.member("quantization_config") != nullptr)
    reader.unsupported("quantization_config", "expected plain weights, got quantised ones");
  config.initializer_range = reader.number("initializer_range", 0.02);
  family.read(reader, config);
  read_tokens(reader, config);
  check_model_config(config, origin);
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
  find_config_family(config.model_type)->write(root, config);
  if (config.bos_token_id) root["bos_token_id"] = *config.bos_token_id;
  if (config.eos_token_ids.size() == 1) root["eos_token_id"] = config.eos_token_ids.front();
  if (config.eos_token_ids.size() > 1) root["eos_token_id"] = config.eos_token_ids;
  if (config.pad_token_id) root["pad_token_id"] = *config.pad_token_id;
  return root.dump(2) + "\n";
}

}  // namespace sluice::format
