// Timelines as a picture: the trace-event JSON that chrome://tracing and Perfetto open.
#pragma once
#include <span>
#include <string>

#include "plan/plan.h"
#include "plan/timeline.h"
#include "plan/trace.h"

namespace sluice::plan {

/// A timeline and the name of its row of lanes ("predicted", "measured").
struct NamedTimeline {
  std::string name;
  Timeline timeline;
};

/// One process per timeline, one thread per lane that is used, one event per span with bytes, place in the list and
/// workspace, and one counter per tier with the bytes in use when each computation starts. With `trace` blocks and
/// chunks carry their names. Times are shifted so that the earliest span starts at 0.
[[nodiscard]] std::string chrome_trace(const Plan& plan, std::span<const NamedTimeline> timelines,
                                       const StepTrace* trace = nullptr);

}  // namespace sluice::plan
