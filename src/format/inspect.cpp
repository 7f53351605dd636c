#include "format/inspect.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/formatted.h"
#include "format/gguf.h"
#include "format/model_config.h"
#include "format/peft.h"
#include "format/quote.h"
#include "format/safetensors.h"
#include "format/weight_source.h"

namespace sluice::format {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kShownItems = 8;     // of a metadata array
constexpr std::size_t kShownText = 200;    // characters of a metadata text
constexpr std::size_t kMaxTensors = 1000;  // listed one by one

struct TensorTotals {
  std::map<std::string, std::int64_t> tensors_by_dtype;
  std::int64_t num_elements = 0;
};

template <typename Tensors>
Json describe_tensors(const Tensors& tensors) {
  TensorTotals totals;
  Json list = Json::array();
  for (const auto& tensor : tensors) {
    ++totals.tensors_by_dtype[tensor.dtype];
    totals.num_elements += tensor.num_elements();
    if (list.size() < kMaxTensors)
      list.push_back({{"name", tensor.name}, {"dtype", tensor.dtype}, {"shape", tensor.shape}});
  }
  Json root;
  root["parameters"] = totals.num_elements;
  root["num_tensors"] = tensors.size();
  root["dtypes"] = totals.tensors_by_dtype;
  root["tensors"] = std::move(list);
  return root;
}

Json describe_config(const ModelConfig& config) {
  Json root;
  root["architecture"] = config.architecture;
  root["vocab_size"] = config.vocab_size;
  root["hidden_size"] = config.hidden_size;
  root["intermediate_size"] = config.intermediate_size;
  root["num_layers"] = config.num_layers;
  root["num_heads"] = config.num_heads;
  root["num_kv_heads"] = config.num_kv_heads;
  root["head_dim"] = config.head_dim;
  root["max_position_embeddings"] = config.max_position_embeddings;
  if (config.learned_positions) {
    root["positions"] = "learned";
  } else {
    root["rope"] = config.rope_scaling.type;
    root["rope_theta"] = config.rope_theta;
  }
  root["activation"] = config.hidden_act;
  root["tie_word_embeddings"] = config.tie_word_embeddings;
  return root;
}

Json shortened(const std::string& text) {
  return text.size() <= kShownText
             ? Json(text)
             : Json(text.substr(0, kShownText) + "... (" + std::to_string(text.size()) + " bytes)");
}

struct ValueToJson {
  template <typename T>
  Json operator()(const std::vector<T>& values) const {
    Json root;
    root["length"] = values.size();
    root["first"] = std::vector<T>(values.begin(),
                                   values.begin() + static_cast<std::ptrdiff_t>(std::min(values.size(), kShownItems)));
    return root;
  }
  Json operator()(const std::string& value) const { return shortened(value); }
  template <typename T>
  Json operator()(const T& value) const {
    return value;
  }
};

Json inspect_gguf(const std::filesystem::path& path) {
  const GgufFile file(path);
  Json root;
  root["kind"] = "GGUF, version " + std::to_string(file.version());
  root.update(describe_tensors(file.tensors()));
  Json& metadata = root["metadata"] = Json::object();
  for (const auto& [key, value] : file.metadata()) metadata[key] = std::visit(ValueToJson{}, value);
  return root;
}

Json inspect_safetensors(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  Json root;
  root["kind"] = "safetensors file";
  root.update(describe_tensors(file.tensors()));
  Json& metadata = root["metadata"] = Json::object();
  for (const auto& [key, value] : file.metadata()) metadata[key] = shortened(value);
  return root;
}

Json inspect_adapter(const std::filesystem::path& path) {
  const AdapterConfig config = read_adapter_config(path);
  Json root;
  root["kind"] = "PEFT adapter folder";
  root["config"] = {{"base_model", config.base_model},
                    {"rank", config.rank},
                    {"alpha", config.alpha},
                    {"rslora", config.rslora},
                    {"targets", config.targets}};
  root.update(describe_tensors(open_weights(path / kAdapterWeightsName)->tensors()));
  return root;
}

Json inspect_folder(const std::filesystem::path& path) {
  if (is_adapter_folder(path)) return inspect_adapter(path);
  const bool has_config = std::filesystem::exists(path / "config.json");
  const bool has_weights = format::has_weights(path);
  if (!has_config && !has_weights)
    throw ConfigError("format.inspect", "nothing to inspect in " + path.string(),
                      "expected config.json or model.safetensors",
                      "give a model folder, a .safetensors or a .gguf file");
  Json root;
  root["kind"] = "Hugging Face model folder";
  if (has_config) root["config"] = describe_config(read_model_config(path));
  if (has_weights) root.update(describe_tensors(open_weights(path)->tensors()));
  return root;
}

Json inspect_json(const std::filesystem::path& path) {
  Json root;
  root["kind"] = "model config";
  root["config"] = describe_config(read_model_config(path));
  return root;
}

std::string scalar_text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Control characters would let a file write to the user's terminal.
std::string clean(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '\n') {
      result += "\\n";
    } else {
      result += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
    }
  }
  return result;
}

void put_row(std::string& text, const std::string& key, const std::string& value) {
  text += formatted("  %-42s ", clean(key).substr(0, 80).c_str()) + clean(value) + "\n";
}

std::string to_text(const Json& root, const std::filesystem::path& path) {
  std::string text = path.string() + ": " + root["kind"].get<std::string>() + "\n";
  for (const char* section : {"config", "metadata"}) {
    if (!root.contains(section) || root[section].empty()) continue;
    text += std::string(section) + "\n";
    for (const auto& [key, value] : root[section].items())
      put_row(text, key,
              value.is_object() ? scalar_text(value["length"]) + " items, first " + scalar_text(value["first"])
                                : scalar_text(value));
  }
  if (!root.contains("tensors")) return text;
  text += "weights\n";
  put_row(text, "parameters", scalar_text(root["parameters"]));
  put_row(text, "tensors", scalar_text(root["num_tensors"]));
  for (const auto& [dtype, count] : root["dtypes"].items()) put_row(text, "tensors of " + dtype, scalar_text(count));
  text += "tensors\n";
  for (const Json& tensor : root["tensors"])
    put_row(text, tensor["name"].get<std::string>(),
            tensor["dtype"].get<std::string>() + " " + format_shape(tensor["shape"].get<std::vector<std::int64_t>>()));
  if (root["tensors"].size() < root["num_tensors"].get<std::size_t>()) text += "  ...\n";
  return text;
}

}  // namespace

std::string inspect(const std::filesystem::path& path, InspectFormat format) {
  Json root;
  if (!std::filesystem::exists(path))
    throw ConfigError("format.inspect", "nothing at " + path.string(), "expected a file or folder", "check the path");
  if (std::filesystem::is_directory(path)) {
    root = inspect_folder(path);
  } else if (path.extension() == ".gguf") {
    root = inspect_gguf(path);
  } else if (path.extension() == ".safetensors") {
    root = inspect_safetensors(path);
  } else if (path.extension() == ".json") {
    root = inspect_json(path);
  } else {
    throw ConfigError("format.inspect", "cannot inspect " + path.string(),
                      "expected a model folder, .safetensors, .gguf or config.json");
  }
  if (format == InspectFormat::Text) return to_text(root, path);
  return root.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace sluice::format
