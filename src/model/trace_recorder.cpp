#include "model/trace_recorder.h"

#include <algorithm>

namespace sluice::model {

void TraceRecorder::allocated(const void* key, Bytes bytes) {
  allocations_[key] = {next_id_, bytes};
  trace_.events.push_back({next_id_++, bytes});
  live_ += bytes;
  highest_ = std::max(highest_, live_);
}

void TraceRecorder::released(const void* key) {
  const auto found = allocations_.find(key);
  if (found == allocations_.end()) return;
  trace_.events.push_back({found->second.id, 0});
  live_ -= found->second.bytes;
  allocations_.erase(found);
}

}  // namespace sluice::model
