// Weights of an adapter, beside those of its base or merged into them.
#pragma once
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "format/peft.h"
#include "format/weight_source.h"

namespace sluice::format {

/// Opens FOLDER/adapter_model.safetensors. Throws FormatError unless it holds A and B of exactly these modules, of
/// their ranks, and the magnitudes of those that have one.
[[nodiscard]] std::unique_ptr<WeightSource> open_adapter_weights(const std::filesystem::path& folder,
                                                                 std::span<const AdaptedModule> modules);

/// All tensors of several sources; of those with one name, the first source's.
[[nodiscard]] std::unique_ptr<WeightSource> join_weights(std::vector<std::unique_ptr<WeightSource>> sources);

/// The tensors of `weights` and, of `modules`, the magnitudes with which an adapter whose B is zero changes nothing:
/// the lengths of the matrices' rows ([out]). `in_out`: matrices are stored [in,out].
[[nodiscard]] std::unique_ptr<WeightSource> add_magnitudes(std::unique_ptr<WeightSource> weights,
                                                           std::span<const AdaptedModule> modules, bool in_out);

/// The tensors of `base`, with scale * B A added, in fp32, to those of `modules`, and rows brought to their magnitudes.
/// `in_out`: matrices are stored [in,out]. A and B of one matrix are in memory at a time.
[[nodiscard]] std::unique_ptr<WeightSource> merge_adapter(std::unique_ptr<WeightSource> base,
                                                          std::unique_ptr<WeightSource> adapter,
                                                          std::span<const AdaptedModule> modules, bool in_out);

}  // namespace sluice::format
