// The rows of one chunk's update: slice by slice, and for a rule that looks at whole tensors first, pass by pass.
#pragma once
#include <vector>

#include "plan/buffers.h"
#include "plan/step.h"

namespace sluice::plan {

/// What they follow from.
struct UpdatePlace {
  const StepTrace& trace;
  const Recipe& recipe;
  const BufferTable& buffers;
  int tier = 0;  ///< where it runs
};

/// Of a trained chunk. Pure.
[[nodiscard]] std::vector<Row> update_rows(const UpdatePlace& place, int chunk, SkipWhen skip);

}  // namespace sluice::plan
