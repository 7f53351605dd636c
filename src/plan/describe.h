// One-line texts for actions and buffers: messages of the checker, names in traces and logs.
#pragma once
#include <string>

#include "plan/plan.h"
#include "plan/trace.h"

namespace sluice::plan {

/// "forward block 3 mb 0", "fetch weight chunk 2", "update chunk 2 slice 5". With `trace` blocks and chunks carry their
/// names: "forward layers.3 mb 0". Indices that are out of range are printed as they are.
[[nodiscard]] std::string describe_action(const Plan& plan, const Action& action, const StepTrace* trace = nullptr);

/// "weight chunk 2", "moment 1 slice 3 chunk 2", "boundary 4 mb 0".
[[nodiscard]] std::string describe_buffer(const Plan& plan, BufferId buffer, const StepTrace* trace = nullptr);

/// How a training plan goes through micro-batches and blocks: "4 micro-batches together", "8 micro-batches in groups of
/// 2, a boundary kept every 4 blocks".
[[nodiscard]] std::string describe_order(const Plan& plan);

}  // namespace sluice::plan
