// Element-wise operators as they occur: what is left of the time of a real block when its products are taken off.
#pragma once
#include "plan/machine.h"
#include "train/compute_rates.h"

namespace sluice::train {

/// `rate.memory_by_size` holds what plain additions reach, over and over on the same memory. Blocks' operators do more
/// (roots, exponentials) on what another operator left somewhere. A few layers and heads are run for real, and the
/// curve is divided, size by size, by how much longer than predicted their element-wise operators took. Tensors take at
/// most about `memory` bytes; shapes that need more are left out.
void fit_memory_rates(plan::ComputeRate& rate, Effort effort, Bytes memory);

}  // namespace sluice::train
