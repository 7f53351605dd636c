// Without a disk, weights that are stored in fewer bits than they compute in can wait in RAM as they are stored: the
// store below the arena is memory of the same process, and both share its budget. For the rest it is a store like any:
// the same moves widen and narrow, the same planner decides what waits where.
#pragma once
#include "plan/planner.h"

namespace sluice::plan {

/// `make_plan`, and where that does not fit into a host's arena alone: plans with a Packed tier below it, which is then
/// `machine`'s, with the host's capacity divided between the two. `beside`: RAM that such a store takes besides, for
/// its lanes; it becomes part of the process's own.
[[nodiscard]] PlanResult make_plan_in_ram(const StepTrace& trace, Machine& machine, const PlanRequest& request,
                                          Bytes beside);

/// `smallest_arena` where some of it may be a Packed tier; `beside` is counted in then.
[[nodiscard]] Bytes smallest_in_ram(const StepTrace& trace, const Machine& machine, const PlanRequest& request,
                                    Bytes beside);

}  // namespace sluice::plan
