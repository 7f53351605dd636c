// What follows from chunks alone: how many parameters, which are trained, and which tensors files know them as.
#include "plan/trace.h"

#include <algorithm>
#include <map>
#include <string_view>

namespace sluice::plan {

std::int64_t StepTrace::num_parameters() const {
  std::int64_t total = 0;
  for (const Chunk& chunk : chunks) {
    for (const ParameterSlot& parameter : chunk.parameters) total += parameter.num_elements;
  }
  return total;
}

std::int64_t StepTrace::num_trained() const {
  std::int64_t total = 0;
  for (const Chunk& chunk : chunks) {
    for (const ParameterSlot& parameter : chunk.parameters) total += chunk.trained ? parameter.num_elements : 0;
  }
  return total;
}

std::int64_t StepTrace::largest_trained() const {
  std::map<std::string_view, std::int64_t> elements;
  std::int64_t largest = 0;
  for (const Chunk& chunk : chunks) {
    for (const ParameterSlot& parameter : chunk.parameters) {
      if (chunk.trained) largest = std::max(largest, elements[parameter.name] += parameter.num_elements);
    }
  }
  return largest;
}

bool updates_whole_tensors(const Chunk& chunk) {
  return std::ranges::any_of(chunk.parameters, [](const ParameterSlot& parameter) { return parameter.update >= 0; });
}

int first_backward(const StepTrace& trace) {
  const auto trains = [&](const Block& block) {
    return std::ranges::any_of(block.chunks, [&](int chunk) { return trace.chunks[chunk].trained; });
  };
  return static_cast<int>(std::ranges::find_if(trace.blocks, trains) - trace.blocks.begin());
}

std::vector<PublishedTensor> published_tensors(std::span<const Chunk> chunks) {
  std::vector<PublishedTensor> tensors;
  for (std::size_t c = 0; c < chunks.size(); ++c) {
    for (std::size_t p = 0; p < chunks[c].parameters.size(); ++p) {
      const ParameterSlot& slot = chunks[c].parameters[p];
      auto tensor = std::ranges::find(tensors, slot.name, &PublishedTensor::name);
      if (tensor == tensors.end()) {
        tensor = tensors.insert(tensors.end(), {slot.name, slot.shape, {}});
      } else {
        tensor->shape[0] += slot.shape[0];
      }
      tensor->parts.push_back({static_cast<int>(c), static_cast<int>(p), slot.first_element, slot.num_elements});
    }
  }
  return tensors;
}

}  // namespace sluice::plan
