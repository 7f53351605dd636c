#include "model/compute.h"

#include <ATen/ATen.h>

#include <utility>

#include "base/check.h"

namespace sluice::model {

at::Tensor view_of(const plan::ParameterSlot& place, const at::Tensor& chunk) {
  if (!chunk.defined()) return {};
  return chunk.narrow(0, place.first_element, place.num_elements).view(place.shape);
}

void run_forward(const Block& block, const BlockTensors& t) {
  const at::NoGradGuard no_grad;
  t.output.copy_(block.forward(t.parameters, t.input, t.batch));
}

SavedTensors run_forward_saving(const Block& block, const BlockTensors& t, SavedMask mask) {
  const at::NoGradGuard no_grad;
  SavedTensors saved(block.saved_classes().size());
  if (mask == 0) {
    run_forward(block, t);
    return saved;
  }
  t.output.copy_(block.forward_saving(t.parameters, t.input, t.batch, mask, saved));
  return saved;
}

double run_backward(const Block& block, const BlockTensors& t, SavedTensors saved) {
  SLUICE_CHECK(t.gradients.size() == t.parameters.size(), block.name(), ": one gradient per parameter");
  const at::NoGradGuard no_grad;
  if (const auto* loss = dynamic_cast<const LossBlock*>(&block)) {
    return loss->loss_and_gradients(t.parameters, t.gradients, t.input, t.input_gradient, t.batch, t.scale);
  }
  saved.resize(block.saved_classes().size());
  const at::Tensor dx =
      block.backward({t.parameters, t.gradients, t.input, t.batch, t.output_gradient}, std::move(saved));
  if (t.input_gradient.defined()) t.input_gradient.copy_(dx);
  return 0;
}

void run_generate(const Block& block, const BlockTensors& t, const KvCache& cache) {
  const at::NoGradGuard no_grad;
  if (const auto* loss = dynamic_cast<const LossBlock*>(&block)) {
    t.output.copy_(loss->logits(t.parameters, t.input.narrow(1, t.position.num_tokens - 1, 1)));
  } else {
    t.output.copy_(block.decode(t.parameters, t.input, cache, t.position.first, t.batch));
  }
}

double run_segment(const Block& block, Computation computation, int index, const BlockTensors& t) {
  const at::NoGradGuard no_grad;
  const Segment segment = block.segments(computation).at(static_cast<std::size_t>(index));
  BlockTensors part = t;
  part.parameters.clear();
  part.gradients.clear();
  for (const int p : segment.parameters) part.parameters.push_back(t.parameters.at(static_cast<std::size_t>(p)));
  for (const int p : segment.gradients) part.gradients.push_back(t.gradients.at(static_cast<std::size_t>(p)));
  return block.run_segment(computation, index, part);
}

double run_evaluate(const Block& block, const BlockTensors& t) {
  if (const auto* loss = dynamic_cast<const LossBlock*>(&block)) return loss->loss(t);
  run_forward(block, t);
  return 0;
}

}  // namespace sluice::model
