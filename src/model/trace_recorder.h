// Records what a computation allocates and what its operators cost, as the plan's ComputeTrace.
#pragma once
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "model/cpu_allocator.h"
#include "model/op_cost.h"
#include "plan/trace.h"

namespace sluice::model {

/// Memory from before a `record` is not seen in it.
class TraceRecorder final : public AllocationObserver {
 public:
  /// Runs `computation` and returns its trace. Exceptions pass through.
  template <typename Computation>
  plan::ComputeTrace record(const Computation& computation) {
    trace_ = {};
    allocations_.clear();
    next_id_ = 0;
    {
      const Observing observing(*this);
      const OpCostRecording costs(trace_.ops);
      computation();
    }
    return std::move(trace_);
  }
  /// Ids of what the last `record` left allocated, by key.
  [[nodiscard]] const std::unordered_map<const void*, std::int32_t>& live() const { return allocations_; }
  void allocated(const void* key, Bytes bytes) override;
  void released(const void* key) override;

 private:
  struct Observing {
    explicit Observing(TraceRecorder& recorder) { observe_allocations(&recorder); }
    ~Observing() { observe_allocations(nullptr); }
    Observing(const Observing&) = delete;
    Observing& operator=(const Observing&) = delete;
  };
  plan::ComputeTrace trace_;
  std::unordered_map<const void*, std::int32_t> allocations_;  // live ones: id
  std::int32_t next_id_ = 0;
};

}  // namespace sluice::model
