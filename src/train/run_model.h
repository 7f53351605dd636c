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

/// `settings` with what --model's files say. Where it is the folder of an adapter alone, that becomes --adapter-path,
/// and
/// --model the base that it names; --weights-dtype, when nobody gave it, is the 16-bit format of a file that has all
/// its matrices in it, else fp32. Throws ConfigError when the base is not there.
[[nodiscard]] recipe::Settings resolve_model(recipe::Settings settings);

struct RunModel {
  std::optional<format::AdapterConfig> adapter;
  std::vector<format::AdaptedModule> adapted;
  model::Model model;
};
[[nodiscard]] RunModel make_run_model(const recipe::Settings& settings, const format::ModelConfig& config);

/// Everything that the model holds: `resumed` (a checkpoint's weights, or nullptr) first, else the adapter of
/// --adapter-path, then --model's file; what no file can hold is fresh. nullptr: all of it is.
[[nodiscard]] std::unique_ptr<format::WeightSource> open_run_weights(
    const recipe::Settings& settings, const RunModel& run, std::unique_ptr<format::WeightSource> resumed = {});

/// What is saved beside the weights: for an adapter its own configuration in place of the model's.
[[nodiscard]] std::vector<checkpoint::SideFile> run_side_files(const RunModel& run, const format::ModelConfig& config,
                                                               std::vector<checkpoint::SideFile> of_model);

/// Whether the family stores the matrices of its linear maps as [in,out].
[[nodiscard]] bool stores_in_out(const format::ModelConfig& config);

}  // namespace sluice::train
