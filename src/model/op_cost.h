// Collects the cost of every operator that runs on this thread: through torch's operator callbacks, and by hand where
// an operator has no meta kernel and so is not called on meta.
#pragma once
#include <vector>

#include "plan/trace.h"

namespace sluice::model {

/// While it lives, costs of this thread's operators are appended to `ops`. One per thread at a time.
class OpCostRecording {
 public:
  explicit OpCostRecording(std::vector<plan::OpCost>& ops);
  ~OpCostRecording();
  OpCostRecording(const OpCostRecording&) = delete;
  OpCostRecording& operator=(const OpCostRecording&) = delete;

 private:
  std::uint64_t callback_ = 0;
};

/// Adds a cost to this thread's recording, if there is one.
void record_cost(const plan::OpCost& cost);

}  // namespace sluice::model
