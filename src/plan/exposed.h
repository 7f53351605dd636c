// How much of what ranks exchange the computation does not hide.
#pragma once
#include "plan/plan.h"
#include "plan/timeline.h"

namespace sluice::plan {

struct Exchanges {
  Bytes sent = 0;        ///< by one rank
  Seconds busy = 0;      ///< the communication lane was at work, waiting for other ranks included
  Seconds exposed = 0;   ///< of that, while the compute lane did nothing
  Seconds agreeing = 0;  ///< the compute lane itself exchanged norms and losses, waiting included
};

/// Of one period, predicted or measured. `timeline` is of `plan`.
[[nodiscard]] Exchanges exchanges_of(const Plan& plan, const Timeline& timeline);

}  // namespace sluice::plan
