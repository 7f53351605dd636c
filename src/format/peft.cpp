#include "format/peft.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "format/strict_json.h"

namespace sluice::format {
namespace {

using Json = nlohmann::ordered_json;

constexpr Bytes kMaxConfigBytes = 4 * MiB;
constexpr std::string_view kAllLinear = "all-linear";

bool matches(const std::string& expression, const std::string& module) {
  try {
    return std::regex_match(module, std::regex(expression));
  } catch (const std::regex_error&) {
    throw ConfigError("adapter", "'" + expression + "' is not a regular expression", "",
                      "name modules by the end of their names, as in q_proj,v_proj");
  }
}

bool ends_with_module(const std::string& module, const std::string& name) {
  return module == name || module.ends_with("." + name);
}

bool is_expression(const std::string& target) { return target.find_first_of("*+?|()[]{}^$\\") != std::string::npos; }

template <typename Value>
Value of_pattern(const std::vector<std::pair<std::string, Value>>& pattern, const std::string& module,
                 Value otherwise) {
  for (const auto& [key, value] : pattern) {
    if (matches("(.*\\.)?(" + key + ")", module)) return value;
  }
  return otherwise;
}

std::string last_part(const std::string& module) { return module.substr(module.rfind('.') + 1); }

[[noreturn]] void refuse(const std::string& what, const std::filesystem::path& folder) {
  throw ConfigError("adapter", what + " is not available in this version",
                    "asked for by " + (folder / kAdapterConfigName).string(), "use a plain LoRA adapter");
}

// Null, false, empty lists and maps ask for nothing.
bool asks(const Json& root, const char* key) {
  const auto found = root.find(key);
  if (found == root.end() || found->is_null()) return false;
  if (found->is_boolean()) return found->get<bool>();
  if (found->is_structured() || found->is_string()) return !found->empty();
  return true;
}

void check_available(const Json& root, const std::filesystem::path& folder) {
  const std::string type = root.value("peft_type", "");
  if (type != "LORA") refuse("an adapter of type '" + type + "'", folder);
  if (root.value("bias", "none") != "none") refuse("a trained bias", folder);
  for (const char* key :
       {"use_qalora", "use_bdlora", "lora_bias", "modules_to_save", "layers_to_transform", "exclude_modules",
        "layer_replication", "trainable_token_indices", "target_parameters", "alora_invocation_tokens", "arrow_config",
        "kasa_config", "velora_config", "monteclora_config"}) {
    if (asks(root, key)) refuse(std::string("'") + key + "'", folder);
  }
  const auto init = root.find("init_lora_weights");
  if (init == root.end() || !init->is_string()) return;
  for (const char* changes_base : {"pissa", "olora", "loftq", "corda"}) {
    if (init->get<std::string>().starts_with(changes_base))
      refuse("'init_lora_weights': '" + init->get<std::string>() + "'", folder);
  }
}

template <typename Value>
void read_pattern(const Json& root, const char* key, std::vector<std::pair<std::string, Value>>& pattern) {
  if (!asks(root, key)) return;
  for (const auto& [name, value] : root.at(key).items()) pattern.emplace_back(name, value.template get<Value>());
}

bool is_all_linear(const AdapterConfig& config) {
  return std::ranges::find(config.targets, kAllLinear) != config.targets.end();
}

// All linear maps by the last parts of their names; what an expression chose by whole names.
std::vector<std::string> written_targets(std::span<const AdaptedModule> modules, const AdapterConfig& config) {
  const bool all = is_all_linear(config);
  if (!all && std::ranges::none_of(config.targets, is_expression)) return config.targets;
  std::set<std::string> names;
  for (const AdaptedModule& module : modules) names.insert(all ? last_part(module.name) : module.name);
  return {names.begin(), names.end()};
}

}  // namespace

std::string adapter_a_name(const std::string& module) { return std::string(kPeftPrefix) + module + ".lora_A.weight"; }

std::string adapter_b_name(const std::string& module) { return std::string(kPeftPrefix) + module + ".lora_B.weight"; }

std::string adapter_magnitude_name(const std::string& module) {
  return std::string(kPeftPrefix) + module + std::string(kMagnitudeSuffix);
}

std::vector<std::string> default_targets(std::string_view model_type) {
  if (model_type == "gpt2") return {"c_attn"};
  return {"q_proj", "v_proj"};
}

bool names_target(const AdapterConfig& config, const std::string& module) {
  if (config.targets.size() == 1 && is_expression(config.targets[0])) return matches(config.targets[0], module);
  return std::ranges::any_of(config.targets, [&](const std::string& t) { return ends_with_module(module, t); });
}

std::optional<AdaptedModule> adapted_module(const AdapterConfig& config, const std::string& module) {
  if (!is_all_linear(config) && !names_target(config, module)) return std::nullopt;
  AdaptedModule result{.name = module,
                       .rank = of_pattern(config.rank_pattern, module, config.rank),
                       .alpha = of_pattern(config.alpha_pattern, module, config.alpha),
                       .magnitude = config.dora};
  const auto rank = static_cast<double>(result.rank);
  result.scale = result.alpha / (config.rslora ? std::sqrt(rank) : rank);
  return result;
}

bool is_adapter_folder(const std::filesystem::path& folder) {
  return std::filesystem::exists(folder / kAdapterConfigName) && !std::filesystem::exists(folder / "config.json");
}

AdapterConfig read_adapter_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kAdapterConfigName;
  const std::string text = read_text(path, kMaxConfigBytes);
  parse_json_object(text, path.string());  // refuses what the order-keeping parser below would take
  const Json root = Json::parse(text);
  try {
    check_available(root, folder);
    AdapterConfig config;
    config.rank = root.value("r", std::int64_t{8});
    config.alpha = root.value("lora_alpha", 8.0);
    config.rslora = root.value("use_rslora", false);
    config.dora = root.value("use_dora", false);
    config.dropout = root.value("lora_dropout", 0.0);
    if (asks(root, "base_model_name_or_path"))
      config.base_model = root.at("base_model_name_or_path").get<std::string>();
    if (asks(root, "target_modules")) {
      const Json& targets = root.at("target_modules");
      if (targets.is_string()) {
        config.targets = {targets.get<std::string>()};
      } else {
        config.targets = targets.get<std::vector<std::string>>();
      }
    }
    read_pattern(root, "rank_pattern", config.rank_pattern);
    read_pattern(root, "alpha_pattern", config.alpha_pattern);
    if (config.rank < 1) throw FormatError("adapter", "bad rank in " + path.string(), "expected 'r' above 0");
    return config;
  } catch (const nlohmann::json::exception& error) {
    throw FormatError("adapter", path.string() + " cannot be read", error.what());
  }
}

std::string adapter_config_json(const AdapterConfig& config, std::span<const AdaptedModule> modules,
                                bool fan_in_fan_out) {
  Json ranks = Json::object(), alphas = Json::object();
  for (const AdaptedModule& module : modules) {
    if (module.rank != config.rank) ranks[module.name] = module.rank;
    if (module.alpha != config.alpha) alphas[module.name] = module.alpha;
  }
  const Json alpha =
      config.alpha == std::floor(config.alpha) ? Json(static_cast<std::int64_t>(config.alpha)) : Json(config.alpha);
  const Json root = {{"alpha_pattern", alphas},
                     {"base_model_name_or_path", config.base_model},
                     {"bias", "none"},
                     {"fan_in_fan_out", fan_in_fan_out},
                     {"inference_mode", true},
                     {"init_lora_weights", true},
                     {"layers_to_transform", nullptr},
                     {"lora_alpha", alpha},
                     {"lora_dropout", 0.0},
                     {"modules_to_save", nullptr},
                     {"peft_type", "LORA"},
                     {"r", config.rank},
                     {"rank_pattern", ranks},
                     {"revision", nullptr},
                     {"target_modules", written_targets(modules, config)},
                     {"task_type", "CAUSAL_LM"},
                     {"use_dora", config.dora},
                     {"use_rslora", config.rslora}};
  return root.dump(2) + "\n";
}

}  // namespace sluice::format
