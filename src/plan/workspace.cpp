#include "plan/workspace.h"

#include <map>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "plan/first_fit.h"

namespace sluice::plan {

std::vector<RowWorkspace> replay_workspace(const StepRows& step) {
  FirstFit allocator;
  std::map<std::pair<int, int>, std::unordered_map<std::int32_t, Bytes>> saved;  // (block, micro-batch): id -> offset
  std::vector<RowWorkspace> result;
  result.reserve(step.rows.size());
  for (const Row& row : step.rows) {
    allocator.reset_peak();
    if (row.compute != nullptr) {
      auto& live = saved[{row.block, row.micro_batch}];
      for (const AllocationEvent& event : row.compute->events) {
        if (event.bytes > 0) {
          live[event.id] = allocator.allocate(event.bytes);
        } else {
          const auto found = live.find(event.id);
          SLUICE_CHECK(found != live.end(), "the trace releases what it did not allocate");
          allocator.release(found->second);
          live.erase(found);
        }
      }
      if (live.empty()) saved.erase({row.block, row.micro_batch});
    }
    result.push_back({allocator.peak(), allocator.top()});
  }
  return result;
}

}  // namespace sluice::plan
