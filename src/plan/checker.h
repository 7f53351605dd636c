// Proves a plan without trusting the planner that made it: written from the rules alone.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "plan/machine.h"
#include "plan/plan.h"

namespace sluice::plan {

/// Every violated rule, one line each; empty for a correct plan. Rules: an input is resident at the place and offset
/// that the action names and its latest version is there; no two live residences (or a residence and the workspace)
/// overlap; moves are legal (fetch from a valid copy, write_back of a dirty one, no evict of the only copy of live
/// data); every dirty persistent buffer is written back or at its entry state by the end; the end state equals the
/// entry state; dependencies cover every ordering that correctness needs (data and reuse of memory, across lanes and
/// across the period's end); no deadlock; arena_peak within capacity; gradients are summed block after block from the
/// last to the first, micro-batch 0, 1, ... in each, and read when they are whole; each is measured once, and updated
/// once with all of its slices: when the norms that the update waits for are known, from the sum of the last pass, and
/// never between two computations of one step with the same weights. Of several ranks: weights are whole when they are
/// computed with, gradients are summed over ranks once before they are read, norms agreed on before they decide. An
/// action with a skip predicate is tried both ways. Train repeats; Flush and Evaluate run alone, and a Flush may use up
/// pending gradients. What entry does not call clean is taken to be dirty when a period starts. `before`, with the same
/// buffers, is the plan in whose end state this one starts: with it entry is compared with that state.
[[nodiscard]] std::vector<std::string> check_plan(const Plan& plan, const Machine& machine,
                                                  const Plan* before = nullptr);

}  // namespace sluice::plan
