// What is trained of a model, before it is traced: frozen parameters, and low-rank adapters beside its linear maps.
// Both turn into chunks: what happens to a chunk happens to all of it, so a chunk that is partly trained is split.
#pragma once
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "format/peft.h"
#include "model/model.h"

namespace sluice::model {

/// Gives the linear maps that `config` names adapters, whose parameters (under PEFT's names) are a chunk of their
/// block, and freezes all else; or, with a `base_rule`, leaves all else to that rule. Returns which they are, in the
/// order of the model. Throws ConfigError when nothing matches, when a target names a module that is no linear map of a
/// layer, or when a rank exceeds its matrix.
std::vector<format::AdaptedModule> add_adapters(Model& model, const format::AdapterConfig& config,
                                                std::optional<int> base_rule = {});

/// Gives chunks of rule `from` that belong to no hidden layer, but to an embedding or head, the rule `to`.
void set_rule_of_ends(Model& model, int from, int to);

/// Freezes the parameters whose names match one of `patterns` (*, ? and [] as in a shell; * also matches dots). Throws
/// ConfigError when a pattern matches nothing or nothing is left to train.
void freeze(Model& model, std::span<const std::string> patterns);

/// Memory holds chunks as `held` says of them (ChunkSpec::held): in Fp8 their matrices alone, as chunks of their own.
void hold(Model& model, const std::function<NumberFormat(const ChunkSpec&)>& held);

/// Linear maps of layers that are frozen are stored in NF4: a chunk of its own for those of each block.
void store_in_nf4(Model& model);

}  // namespace sluice::model
