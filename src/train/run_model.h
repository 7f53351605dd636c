// The model of a run as settings want it trained: frozen parameters, adapters, and where their weights come from.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "checkpoint/writer.h"
#include "format/peft.h"
#include "format/weight_source.h"
#include "model/model.h"
#include "recipe/settings.h"

namespace sluice::train {

/// Where the base of an adapter is saved that was trained with it: in the adapter's folder.
inline constexpr const char* kBaseFolder = "base";

/// `settings` with what --model's files say. Where it is the folder of an adapter, that becomes --adapter-path, and
/// --model its base: in the same folder, the one that it names, or `kBaseFolder` there if that one has gone;
/// --weights-dtype, when nobody gave it, is the 16-bit format of a file that has all its matrices in it, else fp32.
/// Throws ConfigError when the base is not there.
[[nodiscard]] recipe::Settings resolve_model(recipe::Settings settings);

struct RunModel {
  std::optional<format::AdapterConfig> adapter = {};
  std::vector<format::AdaptedModule> adapted = {};
  bool trains_base = false;    ///< beside the adapter
  bool stores_in_out = false;  ///< the matrices of linear maps are [in,out] in files
  model::Model model = {};
};
[[nodiscard]] RunModel make_run_model(const recipe::Settings& settings, const format::ModelConfig& config);

/// Everything that the model holds: `resumed` (a checkpoint's weights, or nullptr) first, else the adapter of
/// --adapter-path, then --model's file; what no file can hold is fresh. nullptr: all of it is.
[[nodiscard]] std::unique_ptr<format::WeightSource> open_run_weights(
    const recipe::Settings& settings, const RunModel& run, std::unique_ptr<format::WeightSource> resumed = {});

/// What is saved beside the weights: for an adapter its own configuration in place of the model's.
[[nodiscard]] std::vector<checkpoint::SideFile> run_side_files(const RunModel& run,
                                                               std::vector<checkpoint::SideFile> of_model);

}  // namespace sluice::train
