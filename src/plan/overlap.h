// Rows of several ranks moved so that exchanges run beside the computation of a neighbouring block.
#pragma once
#include <vector>

#include "plan/step.h"

namespace sluice::plan {

/// What a computation waits for (its weights being made whole) begins before the computation in front of it, and what
/// waits for an exchange of its results (norm, update) stands behind the computation after it. Only where there is an
/// exchange: other rows keep their place. No order of sums changes. Pure.
[[nodiscard]] std::vector<Row> overlap_exchanges(std::vector<Row> rows);

}  // namespace sluice::plan
