// Predicts a plan's Timeline: lanes are queues, an action starts when its lane is free and its dependencies are done.
#pragma once
#include "plan/machine.h"
#include "plan/plan.h"
#include "plan/timeline.h"
#include "plan/trace.h"

namespace sluice::plan {

/// Predicted seconds of one computation in tier 0 from its operator list.
[[nodiscard]] Seconds predict_compute(const ComputeTrace& compute, const Machine& machine);

/// The second of two consecutive periods (steady state: lanes still busy with the period before). Pure; reads
/// Action::duration, bytes and the machine's links. Reads and writes that share a disk slow each other down.
[[nodiscard]] Timeline simulate(const Plan& plan, const Machine& machine);

/// What no schedule can beat: the longest of each lane's total work.
[[nodiscard]] Seconds lower_bound(const Plan& plan, const Machine& machine);

/// Bytes in use per tier at each action of the list (workspace included): the occupancy curve of the report.
[[nodiscard]] std::vector<std::vector<Bytes>> occupancy(const Plan& plan, int num_tiers);

}  // namespace sluice::plan
