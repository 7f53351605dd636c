// What torch's workspace will use: the run-time allocator's own algorithm replayed over the traced allocations, so
// fragmentation is predicted too. What is saved lives in planned buffers and is left out.
#pragma once
#include <vector>

#include "plan/step.h"

namespace sluice::plan {

/// Per row: the highest byte while it runs. The workspace is empty between rows.
[[nodiscard]] std::vector<Bytes> replay_workspace(const StepRows& step);

}  // namespace sluice::plan
