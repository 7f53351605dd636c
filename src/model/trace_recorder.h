// Records what a computation allocates and what its operators cost, as the plan's ComputeTrace.
#pragma once
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "model/cpu_allocator.h"
#include "model/op_cost.h"
#include "plan/trace.h"

namespace sluice::model {

/// One recorder per BlockTrace: ids go on from computation to computation, so that a saved tensor's release carries the
/// id of its allocation. Memory from before the first `record` is not seen.
class TraceRecorder final : public AllocationObserver {
 public:
  /// Runs `computation` and returns its trace. Exceptions pass through.
  template <typename Computation>
  plan::ComputeTrace record(const Computation& computation) {
    trace_ = {};
    start_ = highest_ = live_;
    {
      const Observing observing(*this);
      const OpCostRecording costs(trace_.ops);
      computation();
    }
    trace_.peak = highest_ - start_;
    trace_.left = live_;
    return std::move(trace_);
  }
  void allocated(const void* key, Bytes bytes) override;
  void released(const void* key) override;

 private:
  struct Observing {
    explicit Observing(TraceRecorder& recorder) { observe_allocations(&recorder); }
    ~Observing() { observe_allocations(nullptr); }
    Observing(const Observing&) = delete;
    Observing& operator=(const Observing&) = delete;
  };
  struct Allocation {
    std::int32_t id = 0;
    Bytes bytes = 0;
  };
  plan::ComputeTrace trace_;
  std::unordered_map<const void*, Allocation> allocations_;
  std::int32_t next_id_ = 0;
  Bytes live_ = 0, highest_ = 0, start_ = 0;
};

}  // namespace sluice::model
