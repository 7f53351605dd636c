#include "model/adapt.h"

#include <fnmatch.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <utility>

#include "base/error.h"

namespace sluice::model {
namespace {

constexpr std::string_view kWeight = ".weight";

// A linear map of a block: which of the block's parameters is its matrix.
struct LinearMap {
  std::string module;
  std::int64_t in = 0, out = 0;
};

std::vector<LinearMap> linear_maps(const Model& model, int block) {
  std::vector<LinearMap> maps;
  for (const ParameterSpec& spec : parameters_of(model, block)) {
    if (spec.matrix == ParameterSpec::Matrix::None) continue;
    const bool in_out = spec.matrix == ParameterSpec::Matrix::InOut;
    maps.push_back({spec.name.substr(0, spec.name.size() - kWeight.size()), spec.shape[in_out ? 0 : 1],
                    spec.shape[in_out ? 1 : 0]});
  }
  return maps;
}

void check_rank(const LinearMap& map, std::int64_t rank) {
  const std::int64_t most = std::min(map.in, map.out);
  if (rank <= most) return;
  throw ConfigError("adapter", "the rank of " + map.module + " is larger than its matrix",
                    "expected at most " + std::to_string(most) + ", got " + std::to_string(rank), "lower --lora-rank");
}

// A as PEFT draws it, kaiming uniform with a = sqrt(5); B zero, so that the adapter begins as nothing.
// A magnitude is the length of a row as the base has it: 1 stands for what only its weights can tell.
void add_parameters(const LinearMap& map, const format::AdaptedModule& adapter, ChunkSpec& chunk) {
  using Init = ParameterSpec::Init;
  const double bound = 1 / std::sqrt(static_cast<double>(map.in));
  const std::int64_t rank = adapter.rank;
  chunk.parameters.push_back({format::adapter_a_name(map.module), {rank, map.in}, Init::Uniform, bound});
  chunk.parameters.push_back({format::adapter_b_name(map.module), {map.out, rank}, Init::Zeros, 0});
  if (adapter.magnitude)
    chunk.parameters.push_back({format::adapter_magnitude_name(map.module), {map.out}, Init::Ones, 0});
}

// Modules with weights that are no linear map of a layer: they cannot be adapted here.
void check_others(const Model& model, const format::AdapterConfig& config) {
  for (const ChunkSpec& chunk : model.chunks) {
    for (const ParameterSpec& spec : chunk.parameters) {
      if (spec.matrix != ParameterSpec::Matrix::None || !spec.name.ends_with(kWeight)) continue;
      const std::string module = spec.name.substr(0, spec.name.size() - kWeight.size());
      if (!format::names_target(config, module)) continue;
      throw ConfigError("adapter", "an adapter of " + module + " is not available in this version",
                        "expected linear maps of layers", "leave it out of --lora-targets");
    }
  }
}

[[noreturn]] void throw_no_target(const Model& model, const format::AdapterConfig& config) {
  std::string wanted, known;
  for (const std::string& target : config.targets) wanted += (wanted.empty() ? "" : ",") + target;
  for (int block = 0; known.empty() && block < static_cast<int>(model.blocks.size()); ++block) {
    for (const LinearMap& map : linear_maps(model, block))
      known += (known.empty() ? "" : ", ") + map.module.substr(map.module.rfind('.') + 1);
  }
  throw ConfigError("adapter", "no linear map is called '" + wanted + "'", "expected some of " + known,
                    "use these names in --lora-targets, or all-linear");
}

/// Parameters of a chunk that become one of their own, and what is said of that one.
struct Split {
  std::function<bool(const ChunkSpec&, const ParameterSpec&)> takes;
  std::function<void(ChunkSpec&)> change;
  std::string suffix;
};

// What stays comes first and keeps its name. Parameters keep their order within each part.
std::vector<ChunkSpec> split(const ChunkSpec& chunk, const Split& by, std::vector<ParameterPlace>& places) {
  std::vector<ChunkSpec> parts;
  for (const bool taken : {false, true}) {
    ChunkSpec part = chunk;
    part.parameters.clear();
    if (taken) {
      by.change(part);
      part.name += by.suffix;
    }
    for (std::size_t i = 0; i < chunk.parameters.size(); ++i) {
      if (by.takes(chunk, chunk.parameters[i]) != taken) continue;
      places[i] = {static_cast<int>(parts.size()), static_cast<int>(part.parameters.size())};
      part.parameters.push_back(chunk.parameters[i]);
    }
    if (!part.parameters.empty()) parts.push_back(std::move(part));
  }
  if (parts.size() == 1) parts[0].name = chunk.name;
  return parts;
}

// Chunks of which all is taken or all stays.
void regroup(Model& model, const Split& by) {
  std::vector<ChunkSpec> chunks;
  std::vector<std::vector<ParameterPlace>> moved;  // by old chunk and parameter
  std::vector<std::vector<int>> parts_of;          // by old chunk
  for (const ChunkSpec& chunk : model.chunks) {
    auto& places = moved.emplace_back(chunk.parameters.size());
    std::vector<ChunkSpec> parts = split(chunk, by, places);
    for (ParameterPlace& place : places) place.chunk += static_cast<int>(chunks.size());
    auto& indices = parts_of.emplace_back();
    for (ChunkSpec& part : parts) {
      indices.push_back(static_cast<int>(chunks.size()));
      chunks.push_back(std::move(part));
    }
  }
  for (BlockEntry& entry : model.blocks) {
    std::vector<ParameterPlace> order = parameter_places(model, entry);
    for (ParameterPlace& place : order) place = moved[place.chunk][place.parameter];
    std::vector<int> parts;
    for (const int chunk : entry.chunks) parts.insert(parts.end(), parts_of[chunk].begin(), parts_of[chunk].end());
    entry.order = std::move(order);
    entry.chunks = std::move(parts);
  }
  model.chunks = std::move(chunks);
}

}  // namespace

std::vector<format::AdaptedModule> add_adapters(Model& model, const format::AdapterConfig& config,
                                                std::optional<int> base_rule) {
  check_others(model, config);
  for (ChunkSpec& chunk : model.chunks) {
    chunk.trained = base_rule.has_value();
    chunk.rule = base_rule.value_or(chunk.rule);
  }
  std::vector<format::AdaptedModule> adapted;
  for (int block = 0; block < static_cast<int>(model.blocks.size()); ++block) {
    std::vector<LinearAdapter> adapters;
    BlockEntry& entry = model.blocks[static_cast<std::size_t>(block)];
    ChunkSpec chunk{entry.block->name() + ".adapter", {}, true};
    for (const LinearMap& map : linear_maps(model, block)) {
      adapters.emplace_back();
      const auto module = format::adapted_module(config, map.module);
      if (!module) continue;
      check_rank(map, module->rank);
      adapters.back() = {module->rank, module->scale, module->magnitude};
      adapted.push_back(*module);
      add_parameters(map, *module, chunk);
    }
    if (chunk.parameters.empty()) continue;
    entry.block->set_adapters(std::move(adapters));
    entry.chunks.push_back(static_cast<int>(model.chunks.size()));
    model.chunks.push_back(std::move(chunk));
  }
  if (adapted.empty()) throw_no_target(model, config);
  return adapted;
}

void set_rule_of_ends(Model& model, int from, int to) {
  for (const BlockEntry& entry : model.blocks) {
    if (entry.reads >= 0 && entry.writes >= 0) continue;
    for (const int chunk : entry.chunks) {
      int& rule = model.chunks[static_cast<std::size_t>(chunk)].rule;
      if (rule == from) rule = to;
    }
  }
}

void freeze(Model& model, std::span<const std::string> patterns) {
  if (patterns.empty()) return;
  std::vector<bool> used(patterns.size(), false);
  std::map<std::string, bool> frozen;
  bool any_left = false;
  for (const ChunkSpec& chunk : model.chunks) {
    for (const ParameterSpec& spec : chunk.parameters) {
      bool& is_frozen = frozen[spec.name];
      for (std::size_t i = 0; i < patterns.size(); ++i) {
        if (::fnmatch(patterns[i].c_str(), spec.name.c_str(), 0) != 0) continue;
        used[i] = true;
        is_frozen = true;
      }
      any_left = any_left || (chunk.trained && !is_frozen);
    }
  }
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    if (used[i]) continue;
    throw ConfigError("freeze", "'" + patterns[i] + "' matches no parameter",
                      "expected names such as " + model.chunks.front().parameters.front().name,
                      "`sluice inspect` lists them; * stands for any characters");
  }
  if (!any_left) throw ConfigError("freeze", "nothing is left to train", "", "freeze less");
  regroup(model, {.takes = [&](const ChunkSpec& chunk,
                               const ParameterSpec& spec) { return chunk.trained && frozen.at(spec.name); },
                  .change = [](ChunkSpec& part) { part.trained = false; },
                  .suffix = ".frozen"});
}

void hold(Model& model, const std::function<NumberFormat(const ChunkSpec&)>& held) {
  bool splits = false;
  for (ChunkSpec& chunk : model.chunks) {
    if (!chunk.stored) chunk.held = held(chunk);
    splits = splits || chunk.held == NumberFormat::Fp8;
  }
  if (!splits) return;
  regroup(model,
          {.takes = [](const ChunkSpec& chunk,
                       const ParameterSpec& spec) { return chunk.held == NumberFormat::Fp8 && spec.shape.size() >= 2; },
           .change = [](ChunkSpec& part) { part.stored = NumberFormat::Fp8; },
           .suffix = ".fp8"});
  for (ChunkSpec& chunk : model.chunks) {
    if (chunk.held == NumberFormat::Fp8 && !chunk.stored) chunk.held = *(chunk.stored = NumberFormat::Fp32);
  }
}

void store_in_nf4(Model& model) {
  regroup(model, {.takes =
                      [](const ChunkSpec& chunk, const ParameterSpec& spec) {
                        return !chunk.trained && spec.matrix != ParameterSpec::Matrix::None;
                      },
                  .change = [](ChunkSpec& part) { part.stored = NumberFormat::Nf4; },
                  .suffix = ".nf4"});
}

}  // namespace sluice::model
