// What every computing verb needs: the model as blocks, its trace, this machine under its budget, the plans, and then
// the memory, store and state that play them.
#pragma once
#include <memory>
#include <optional>

#include "checkpoint/writer.h"
#include "exec/executor.h"
#include "exec/state.h"
#include "format/model_config.h"
#include "format/weight_source.h"
#include "model/model.h"
#include "model/tracer.h"
#include "optim/rule_set.h"
#include "plan/planner.h"
#include "recipe/settings.h"
#include "tier/arena.h"
#include "tier/device.h"
#include "tier/store.h"
#include "train/budget.h"
#include "train/ranks.h"
#include "train/run_model.h"

namespace sluice::train {

/// A model by `settings.model`: folder, config.json, GGUF, or a preset's name.
[[nodiscard]] format::ModelConfig open_config(const recipe::Settings& settings);

/// Shape and recipe of the run as the planner sees them.
[[nodiscard]] plan::PlanRequest plan_request(const recipe::Settings& settings, const optim::RuleSet& rules,
                                             const plan::StepTrace& trace);

/// This machine (rates from `sluice doctor`'s file or cautious defaults, as one of `ranks_per_node` has them) with the
/// budget's arena, a disk if spill folders are given, and a device if one is asked for.
[[nodiscard]] plan::Machine local_machine(const recipe::Settings& settings, const Budget& budget, int ranks_per_node);

/// Throws CapacityError that names tier, need and what to set, for a plan that was not found.
[[noreturn]] void throw_does_not_fit(const plan::PlanResult& result, const plan::Machine& machine);

/// Evaluation alone of several micro-batches in a period, so that a weight that is streamed serves all of them.
struct EvaluationShape {
  int num_micro_batches = 1;
};

/// Memory that plays plans. Members are in order of construction.
class Session {
 public:
  /// `forward_only`: evaluation alone, no gradients or moments. Throws ConfigError, CapacityError.
  Session(const recipe::Settings& settings, format::ModelConfig config, bool forward_only, bool with_evaluate);

  /// For training as one of `ranks`, whose settings agree. All plan from rank 0's machine with the least memory that
  /// any of them has, and CommError says when they did not come to the same plan.
  Session(const recipe::Settings& settings, format::ModelConfig config, bool with_evaluate,
          std::shared_ptr<const Ranks> ranks);

  /// For evaluation with `shape` alone.
  Session(const recipe::Settings& settings, format::ModelConfig config, const EvaluationShape& shape);

  /// For generation with `shape` alone.
  Session(const recipe::Settings& settings, format::ModelConfig config, const model::GenerationShape& shape);

  /// Which elements of a chunk's weights are this rank's to load and keep.
  [[nodiscard]] plan::ElementRange weights_here(int chunk) const;
  /// Planned peak of a tier; 0 for one that is not there.
  [[nodiscard]] Bytes planned(plan::TierKind kind) const;
  /// Planned RAM of the process.
  [[nodiscard]] Bytes planned_process() const { return machine.process_ram(plans.arena_peak); }

  /// Reserves arenas (touched up to the planned peaks), store and state. Separate from construction so that --dry-run
  /// can stop before.
  void reserve();

  const recipe::Settings& settings;
  std::shared_ptr<const Ranks> ranks;
  format::ModelConfig config;
  RunModel run_model;
  model::Model& model = run_model.model;
  optim::RuleSet rules;
  plan::StepTrace trace;
  Budget budget;
  plan::Machine machine;
  plan::PlanRequest request;
  plan::PlanSet plans;

  std::vector<checkpoint::SideFile> side_files;       ///< what is saved beside the weights
  std::vector<checkpoint::SideFile> base_side_files;  ///< beside those of an adapter's base, where it is trained

  tier::Device* device = nullptr;  ///< of the process (run_device.h); nullptr: the CPU
  std::unique_ptr<tier::DeviceMemory> device_memory;
  std::vector<std::unique_ptr<tier::Arena>> arenas;  ///< in host memory, of the tiers above the disk
  std::unique_ptr<tier::PageLock> page_lock;         ///< of the host's arena beside a device
  std::unique_ptr<tier::Store> store;
  std::unique_ptr<exec::State> state;
  std::unique_ptr<exec::Executor> executor;

 private:
  struct Purpose;
  tier::ArenaBases reserve_arenas();
  Session(const recipe::Settings& settings, format::ModelConfig config, const Purpose& purpose);
};

}  // namespace sluice::train
