// What follows from chunks alone: how many parameters, and which tensors files know them as.
#include "plan/trace.h"

#include <algorithm>

namespace sluice::plan {

std::int64_t StepTrace::num_parameters() const {
  std::int64_t total = 0;
  for (const Chunk& chunk : chunks) {
    for (const ParameterSlot& parameter : chunk.parameters) total += parameter.num_elements;
  }
  return total;
}

std::vector<PublishedTensor> published_tensors(std::span<const Chunk> chunks) {
  std::vector<PublishedTensor> tensors;
  for (std::size_t c = 0; c < chunks.size(); ++c) {
    for (const ParameterSlot& slot : chunks[c].parameters) {
      auto tensor = std::ranges::find(tensors, slot.name, &PublishedTensor::name);
      if (tensor == tensors.end()) {
        tensor = tensors.insert(tensors.end(), {slot.name, slot.shape, {}});
      } else {
        tensor->shape[0] += slot.shape[0];
      }
      tensor->parts.push_back({static_cast<int>(c), slot.first_element, slot.num_elements});
    }
  }
  return tensors;
}

}  // namespace sluice::plan
