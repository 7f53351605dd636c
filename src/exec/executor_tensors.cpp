// What an action touches, as tensors: views of planned memory, made on the spot.
#include <algorithm>

#include "base/check.h"
#include "exec/executor.h"
#include "model/held_weight.h"

namespace sluice::exec {

Executor::SavedPlaces Executor::saved_places(const plan::Action& action) const {
  SavedPlaces places;
  for (const plan::Slot& slot : action.slots) {
    const plan::Buffer& buffer = period_->plan->buffers[slot.buffer];
    if (buffer.kind != plan::BufferKind::Saved) continue;
    places.mask |= 1U << buffer.saved_class;
    places.buffers.resize(std::max<std::size_t>(places.buffers.size(), buffer.saved_class + 1), nullptr);
    places.buffers[buffer.saved_class] = address(slot);
  }
  return places;
}

// Keys and values of a block share one buffer; the loss block's holds the logits.
void Executor::generate(const plan::Action& action, const StepInputs& inputs, StepResult& result) {
  const model::Block& block = *options_.model->blocks[action.block].block;
  model::BlockTensors tensors = tensors_of(action, inputs);
  model::KvCache cache;
  at::Tensor logits;
  for (const plan::Slot& slot : action.slots) {
    if (period_->plan->buffers[slot.buffer].kind != plan::BufferKind::Cache) continue;
    const std::int64_t elements = options_.trace->cache_bytes[action.block] / static_cast<Bytes>(sizeof(float));
    const std::vector<std::int64_t> shape = block.cache_shape();
    if (shape.empty()) {
      logits = tensors.output = place_.view(address(slot), {1, 1, elements});
    } else {
      const std::int64_t max_length = elements / (2 * shape[0] * shape[1]);
      cache.keys = place_.view(address(slot), {1, shape[0], max_length, shape[1]});
      cache.values = place_.view(address(slot) + elements / 2 * static_cast<Bytes>(sizeof(float)), cache.keys.sizes());
    }
  }
  tensors.position = inputs.position;
  if (action.segment >= 0) {
    model::run_segment(block, model::Computation::Generate, action.segment, tensors);
  } else {
    model::run_generate(block, tensors, cache);
  }
  if (!logits.defined()) return;
  // Where the host may not look they are brought to it.
  logits_ = place_.is_foreign() ? logits.cpu() : logits;
  result.logits = {logits_.const_data_ptr<float>(), static_cast<std::size_t>(logits_.numel())};
}

// The tensors are views of planned memory, made on the spot. A parameter without a gradient is not trained.
model::BlockTensors Executor::tensors_of(const plan::Action& action, const StepInputs& inputs) const {
  model::BlockTensors tensors;
  tensors.batch = place_.micro_batch(action.micro_batch);
  const plan::Block& block = options_.trace->blocks[action.block];
  std::map<int, at::Tensor> weights, gradients;  // by chunk
  for (const plan::Slot& slot : action.slots) {
    const plan::Buffer& buffer = period_->plan->buffers[slot.buffer];
    switch (buffer.kind) {
      case plan::BufferKind::Weight:
      case plan::BufferKind::Gathered:
        weights[buffer.chunk] = chunk_tensor(slot);
        break;
      case plan::BufferKind::Gradient:
        gradients[buffer.chunk] = chunk_tensor(slot);
        break;
      case plan::BufferKind::Boundary:
        (buffer.boundary == block.reads ? tensors.input : tensors.output) = boundary_tensor(slot, tensors.batch);
        break;
      case plan::BufferKind::BoundaryGradient:
        if (block.writes >= 0) tensors.output_gradient = boundary_tensor(slot, tensors.batch);
        if (block.reads >= 0) tensors.input_gradient = boundary_tensor(slot, tensors.batch);
        break;
      case plan::BufferKind::Scratch:
        tensors.scratch = place_.view(address(slot), {buffer.bytes / Bytes{sizeof(float)}});
        break;
      case plan::BufferKind::Cache:
      case plan::BufferKind::Saved:
        break;  // bound by `generate`, `forward_saving` and `backward`
      case plan::BufferKind::Moment:
      case plan::BufferKind::Residual:
      case plan::BufferKind::Signs:
        SLUICE_CHECK(false, "a block's computation does not touch ", plan::name(buffer.kind), " buffers");
    }
  }
  for (const auto [chunk, parameter] : model::parameter_places(*options_.model, options_.model->blocks[action.block])) {
    const plan::ParameterSlot& place = options_.trace->chunks[chunk].parameters[parameter];
    tensors.parameters.push_back(model::view_of(place, weights[chunk]));
    tensors.gradients.push_back(model::view_of(place, gradients[chunk]));
  }
  tensors.scale = inputs.gradient_scale;
  return tensors;
}

at::Tensor Executor::chunk_tensor(const plan::Slot& slot) const {
  const plan::Buffer& buffer = period_->plan->buffers[slot.buffer];
  return place_.view(address(slot), {buffer.num_elements}, model::held_type(buffer.held));
}

at::Tensor Executor::boundary_tensor(const plan::Slot& slot, const model::MicroBatch& batch) const {
  const auto tokens = batch.input_ids.sizes();
  return place_.view(address(slot), {tokens[0], tokens[1], options_.model->hidden_size});
}

std::byte* Executor::address(const plan::Slot& slot) const { return state_.arenas()[slot.tier] + slot.offset; }

float* Executor::floats(const plan::Slot& slot) const { return reinterpret_cast<float*>(address(slot)); }

}  // namespace sluice::exec
