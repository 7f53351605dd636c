#include "plan/exposed.h"

#include <algorithm>
#include <vector>

#include "plan/check_rules.h"

namespace sluice::plan {

Exchanges exchanges_of(const Plan& plan, const Timeline& timeline) {
  Exchanges result;
  std::vector<Span> computing;  // one after the other, as one lane runs them
  for (const Span& span : timeline.spans) {
    const Action& action = plan.actions[span.action];
    if (action.lane != Lane::Compute) continue;
    computing.push_back(span);
    if (action.kind == ActionKind::AllReduce || exchanges_sums(action)) result.agreeing += span.end - span.start;
  }
  for (const Span& span : timeline.spans) {
    const Action& action = plan.actions[span.action];
    if (action.lane != Lane::Communication) continue;
    result.sent += action.bytes;
    result.busy += span.end - span.start;
    Seconds hidden = 0;
    auto at = std::ranges::lower_bound(computing, span.start, {}, &Span::end);
    for (; at != computing.end() && at->start < span.end; ++at)
      hidden += std::min(at->end, span.end) - std::max(at->start, span.start);
    result.exposed += span.end - span.start - hidden;
  }
  return result;
}

}  // namespace sluice::plan
