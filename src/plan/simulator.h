// Predicts a plan's Timeline: lanes are queues, an action starts when its lane is free and its dependencies are done.
#pragma once
#include "plan/machine.h"
#include "plan/plan.h"
#include "plan/timeline.h"

namespace sluice::plan {

/// One period of the plan. Train repeats: the third of three periods, with times relative to the end of the compute
/// lane's period before (so a fetch that began under that period starts below 0), and `total` never below
/// `lower_bound`, because a lane that falls behind must catch up in the end. Flush and Evaluate run once from idle
/// lanes, and `total` is when the last lane is done. Pure; reads Action::duration, bytes and the machine's links.
/// Lanes that run at the same time slow each other as lane_rates.h says. Skippable actions all run.
/// InternalError when the dependencies deadlock.
[[nodiscard]] Timeline simulate(const Plan& plan, const Machine& machine);

/// What no schedule can beat: the most work of one lane, of two lanes that share a link, or of computing while the disk
/// must be busy.
[[nodiscard]] Seconds lower_bound(const Plan& plan, const Machine& machine);

/// Bytes in use per tier at each action of the list (workspace included): the occupancy curve of the report.
[[nodiscard]] std::vector<std::vector<Bytes>> occupancy(const Plan& plan, int num_tiers);

}  // namespace sluice::plan
