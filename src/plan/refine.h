// A prediction that has learnt from a measured step.
#pragma once
#include "plan/machine.h"
#include "plan/plan.h"
#include "plan/timeline.h"

namespace sluice::plan {

/// The timeline of the steps to come, given one that was measured (a period of the same plan): each action takes what
/// it took then. One that was skipped takes its prediction, stretched as others of its kind were, or, without any, as
/// its lane was. How lanes slowed each other is in what was measured, so they do not again. Pure.
[[nodiscard]] Timeline refine(const Plan& plan, const Machine& machine, const Timeline& measured);

}  // namespace sluice::plan
