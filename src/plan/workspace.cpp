#include "plan/workspace.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "base/check.h"
#include "plan/first_fit.h"

namespace sluice::plan {
namespace {

Bytes peak_of(const ComputeTrace& compute, Bytes beside) {
  FirstFit allocator;
  const Bytes below = beside > 0 ? allocator.allocate(beside) : 0;
  std::vector<Bytes> offsets;  // per id; -1: planned elsewhere, or released
  auto planned = compute.saved.begin();
  for (const AllocationEvent& event : compute.events) {
    if (event.bytes > 0) {
      SLUICE_CHECK(event.id == static_cast<std::int32_t>(offsets.size()), "the trace's allocations are out of order");
      const bool saved = planned != compute.saved.end() && planned->id == event.id;
      offsets.push_back(saved ? -1 : allocator.allocate(event.bytes));
      planned += saved ? 1 : 0;
    } else {
      SLUICE_CHECK(event.id < static_cast<std::int32_t>(offsets.size()) && offsets[event.id] >= 0,
                   "the trace releases what it did not allocate");
      allocator.release(offsets[event.id]);
      offsets[event.id] = -1;
    }
  }
  if (beside > 0) allocator.release(below);
  SLUICE_CHECK(allocator.live_bytes() == 0, "a computation left bytes allocated that it did not save");
  return allocator.peak();
}

}  // namespace

std::vector<Bytes> replay_workspace(const StepRows& step) {
  std::map<std::pair<const ComputeTrace*, Bytes>, Bytes> peaks;
  std::vector<Bytes> result;
  result.reserve(step.rows.size());
  const auto peak = [&](const ComputeTrace* compute, Bytes beside) {
    const auto [found, is_new] = peaks.emplace(std::pair(compute, beside), 0);
    if (is_new) found->second = peak_of(*compute, beside);
    return found->second;
  };
  for (const Row& row : step.rows) {
    result.push_back(row.compute == nullptr ? 0 : peak(row.compute, 0));
    for (const ComputeTrace* compute : row.of_tensors)
      result.back() = std::max(result.back(), peak(compute, row.put_together));
  }
  return result;
}

}  // namespace sluice::plan
