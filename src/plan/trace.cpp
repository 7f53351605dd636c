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

std::int64_t StepTrace::num_trained() const {
  std::int64_t total = 0;
  for (const Chunk& chunk : chunks) {
    for (const ParameterSlot& parameter : chunk.parameters) total += chunk.trained ? parameter.num_elements : 0;
  }
  return total;
}

int first_backward(const StepTrace& trace) {
  const auto trains = [&](const Block& block) {
    return std::ranges::any_of(block.chunks, [&](int chunk) { return trace.chunks[chunk].trained; });
  };
  return static_cast<int>(std::ranges::find_if(trace.blocks, trains) - trace.blocks.begin());
}

}  // namespace sluice::plan
