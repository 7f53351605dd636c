// Low-rank adapters as PEFT describes and stores them: adapter_config.json beside adapter_model.safetensors, tensors
// called base_model.model.MODULE.lora_A.weight and .lora_B.weight, with DoRA also .lora_magnitude_vector.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::format {

inline constexpr std::string_view kPeftPrefix = "base_model.model.";
inline constexpr std::string_view kMagnitudeSuffix = ".lora_magnitude_vector";
inline constexpr const char* kAdapterConfigName = "adapter_config.json";
inline constexpr const char* kAdapterWeightsName = "adapter_model.safetensors";

/// y += scale * (x A^T) B^T beside chosen linear maps, with scale = alpha / rank, or alpha / sqrt(rank) with rslora
/// (2312.03732). With dora (2402.09353) the rows of the matrix W + scale B A have lengths of their own.
struct AdapterConfig {
  std::int64_t rank = 8;
  double alpha = 8;
  bool rslora = false;
  bool dora = false;
  /// Modules by the end of their name ("q_proj"), "all-linear", or one regular expression of whole names.
  std::vector<std::string> targets;
  /// Other ranks and alphas; the first whose key (a regular expression of the end of a name) matches.
  std::vector<std::pair<std::string, std::int64_t>> rank_pattern = {};
  std::vector<std::pair<std::string, double>> alpha_pattern = {};
  std::string base_model = {};  ///< base_model_name_or_path
  double dropout = 0;           ///< of a folder that was read; never applied, and written as 0
};

/// A linear map with an adapter.
struct AdaptedModule {
  std::string name;  ///< "model.layers.0.self_attn.q_proj"
  std::int64_t rank = 0;
  double alpha = 0, scale = 0;
  bool magnitude = false;  ///< DoRA
};

/// Names of its tensors.
[[nodiscard]] std::string adapter_a_name(const std::string& module);
[[nodiscard]] std::string adapter_b_name(const std::string& module);
[[nodiscard]] std::string adapter_magnitude_name(const std::string& module);

/// PEFT's targets for a model type when none are named.
[[nodiscard]] std::vector<std::string> default_targets(std::string_view model_type);

/// Whether `config` names this module; "all-linear" names none here. Throws ConfigError for a broken expression.
[[nodiscard]] bool names_target(const AdapterConfig& config, const std::string& module);
/// The adapter of a layer's linear map; nullopt: it has none.
[[nodiscard]] std::optional<AdaptedModule> adapted_module(const AdapterConfig& config, const std::string& module);

/// Whether a folder holds an adapter and no model of its own.
[[nodiscard]] bool is_adapter_folder(const std::filesystem::path& folder);

/// Reads FOLDER/adapter_config.json. Unknown keys are tolerated; what would change the result and is not available
/// (another kind of adapter, trained biases or modules, initialisations that change the base) is refused by
/// name. Throws ConfigError, FormatError, IoError.
[[nodiscard]] AdapterConfig read_adapter_config(const std::filesystem::path& folder);

/// The text of adapter_config.json for the modules that were adapted: targets as short as they may be, and every rank
/// and alpha that differs from the common one under its module's name.
[[nodiscard]] std::string adapter_config_json(const AdapterConfig& config, std::span<const AdaptedModule> modules,
                                              bool fan_in_fan_out);

}  // namespace sluice::format
