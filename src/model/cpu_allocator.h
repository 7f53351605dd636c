// The process's CPU tensor allocator. Tensors live in system memory until a workspace is given; then they live inside
// it, placed by plan::FirstFit, the class with which the planner predicted their addresses. The workspace never grows.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/units.h"

namespace sluice::model {

/// Registers the allocator with c10. Once, before the first tensor; idempotent.
void install_cpu_allocator();

/// Is told of every tensor allocation of the process while it observes, from whichever thread allocates.
class AllocationObserver {
 public:
  virtual ~AllocationObserver() = default;
  /// `bytes` > 0, rounded up to 64; `key` is unique among live allocations.
  virtual void allocated(const void* key, Bytes bytes) = 0;
  /// Also called for keys allocated before the observer began.
  virtual void released(const void* key) = 0;
};

/// CPU and meta allocations are reported from now on; nullptr: stop. The observer outlives its observing.
void observe_allocations(AllocationObserver* observer);

/// From now on tensors live in [base, base + capacity), `base` aligned to 64; nullptr: in system memory again. The
/// workspace given before must be empty (InternalError otherwise). Sets the limit to `capacity` and the peak to 0.
void use_workspace(std::byte* base, Bytes capacity);
/// An allocation that would end above `limit` bytes from the base throws c10::OutOfMemoryError, which names the
/// limit (the planned peak) and the bytes asked for. Nothing is changed by a refused allocation.
void limit_workspace(Bytes limit);
/// An allocation with a place of its own, outside what the workspace may use meanwhile.
struct PlannedAllocation {
  std::int64_t number = 0;  ///< counted from 0 since PlannedAllocations was made
  std::byte* address = nullptr;
};

/// While it lives, the allocations with these numbers (ascending) are put at their addresses, and only the others into
/// the workspace. Their memory is the caller's: releasing them, at any time, gives nothing back. One at a time.
class PlannedAllocations {
 public:
  explicit PlannedAllocations(std::vector<PlannedAllocation> allocations);
  ~PlannedAllocations();
  PlannedAllocations(const PlannedAllocations&) = delete;
  PlannedAllocations& operator=(const PlannedAllocations&) = delete;
};

/// Highest end of an allocation since `use_workspace` or `reset_workspace_peak`, in bytes from the base.
[[nodiscard]] Bytes workspace_peak();
/// The peak becomes the end of the highest live allocation.
void reset_workspace_peak();
/// Bytes now allocated in the workspace (rounded sizes).
[[nodiscard]] Bytes workspace_live();

}  // namespace sluice::model
