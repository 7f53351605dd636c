#include "model/trace_recorder.h"

namespace sluice::model {

void TraceRecorder::allocated(const void* key, Bytes bytes) {
  allocations_[key] = next_id_;
  trace_.events.push_back({next_id_++, bytes});
}

void TraceRecorder::released(const void* key) {
  const auto found = allocations_.find(key);
  if (found == allocations_.end()) return;
  trace_.events.push_back({found->second, 0});
  allocations_.erase(found);
}

}  // namespace sluice::model
