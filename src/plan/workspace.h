// What torch's workspace will use: the run-time allocator's own algorithm replayed over the traced allocations of a
// whole variant, so fragmentation is predicted too.
#pragma once
#include <vector>

#include "plan/movement.h"
#include "plan/step.h"

namespace sluice::plan {

/// Per row: the highest byte during it and after it. Rows without computation keep what is held.
[[nodiscard]] std::vector<RowWorkspace> replay_workspace(const StepRows& step);

}  // namespace sluice::plan
