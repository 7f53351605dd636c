// What one rank of several needs at each of ZeRO's stages, and what the ranks tell each other: a table of `sluice
// plan`.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "plan/exposed.h"
#include "plan/machine.h"
#include "plan/memory_parts.h"
#include "plan/planner.h"

namespace sluice::train {

/// One stage as its plan has it, of one rank. Where the plan does not fit only `fits` to `available` say something.
struct StageRow {
  plan::Sharding sharding;
  bool fits = false;
  plan::TierKind short_tier = plan::TierKind::Host;  ///< and what it needs and has
  Bytes needed = 0, available = 0;
  std::vector<std::pair<plan::TierKind, Bytes>> planned = {};  ///< per tier of the machine
  Bytes weights = 0, gradients = 0, states = 0;                ///< over all tiers, as most_alive() counts them
  Bytes residuals = 0;                                         ///< the same, of compressed gradients
  plan::StateElements elements = {};
  std::int64_t tokens_per_step = 0;  ///< of all ranks
  Seconds step_seconds = 0;
  plan::Exchanges exchanges = {};
};

/// `tokens_per_step` is of all ranks.
[[nodiscard]] StageRow stage_row(const plan::Sharding& sharding, const plan::Machine& machine,
                                 const plan::PlanResult& result, std::int64_t tokens_per_step);

/// "64 (8 nodes x 8), ZeRO stage 3".
[[nodiscard]] std::string describe_ranks(const plan::Sharding& sharding, const plan::Network& network);

/// A table for people, ending in a newline.
[[nodiscard]] std::string stages_text(std::span<const StageRow> rows);

/// "weight", "gradient" and "updated".
[[nodiscard]] nlohmann::ordered_json elements_json(const plan::StateElements& elements);
[[nodiscard]] nlohmann::ordered_json stages_json(std::span<const StageRow> rows);

}  // namespace sluice::train
