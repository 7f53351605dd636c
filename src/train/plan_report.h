// What `sluice plan` says: the plan of one machine and what other budgets would give, as text for people and as JSON.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "plan/machine.h"
#include "plan/memory_parts.h"
#include "plan/planner.h"
#include "plan/saving.h"
#include "plan/trace.h"
#include "recipe/settings.h"
#include "train/stage_report.h"

namespace sluice::train {

/// One budget of the fastest tier (of the whole process where that tier is RAM) and what it gives.
struct BudgetRow {
  std::string label;  ///< "smallest", "1.5 x", "all in memory"
  Bytes budget = 0;
  Seconds step_seconds = 0;
  Bytes disk_read = 0, disk_written = 0;  ///< a step
};

struct PlanForecast {
  std::string model;
  plan::Machine machine;
  std::int64_t num_parameters = 0, num_trained = 0;
  std::int64_t largest_trained = 0;  ///< elements of a tensor: what an update tensor by tensor has at a time
  plan::Sharding sharding;           ///< one rank: nothing is divided
  std::int64_t tokens_per_step = 0;  ///< of all ranks
  plan::ActivationSummary activations;
  plan::PlanResult result;            ///< without `plans` when it does not fit
  Bytes smallest_budget = 0;          ///< as BudgetRow::budget
  std::vector<BudgetRow> budgets;     ///< empty when the plan is so large that each would take seconds
  std::vector<StageRow> stages = {};  ///< of several ranks: those that were looked at
};

/// What is planned for: a trace that is not yet padded, what it is called, and where it runs.
struct PlanQuestion {
  std::string model;
  const plan::StepTrace& trace;
  const plan::Machine& machine;
  plan::PlanRequest request = {};
  bool may_drop_disk = false;  ///< where the disk alone is too small, memory alone may do
  Bytes beside_packed = 0;     ///< plan/packed_ram.h
};

/// Layers by what becomes of their activations: held, spilled, in_part, recomputed, and spilled_bytes a step.
[[nodiscard]] nlohmann::ordered_json activations_json(const plan::ActivationSummary& summary);

/// Bytes by kind of buffer ("weight", "gradient", ...) and "workspace".
[[nodiscard]] nlohmann::ordered_json parts_json(const plan::MemoryParts& parts);

/// What weights, gradients and moments cost over all tiers: "weight", "gradient" (the most at once) and "moment".
[[nodiscard]] nlohmann::ordered_json state_json(const plan::Plan& train);

/// Plans and, where that is quick, plans for a few other budgets. Of several ranks, one of them at each of `stages`
/// (empty: that of the request), all stages at once on threads; the forecast is that of the request's stage, or of the
/// fastest one that fits where that does not.
[[nodiscard]] PlanForecast make_forecast(const PlanQuestion& question, std::span<const int> stages = {});

/// A table for people, ending in a newline.
[[nodiscard]] std::string to_text(const PlanForecast& forecast, const recipe::Settings& settings);

/// One object: all that the table says, in bytes and seconds.
[[nodiscard]] nlohmann::ordered_json to_json(const PlanForecast& forecast, const recipe::Settings& settings);

}  // namespace sluice::train
