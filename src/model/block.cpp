#include "model/block.h"

#include "base/check.h"

namespace sluice::model {

std::int64_t ParameterSpec::num_elements() const {
  std::int64_t count = 1;
  for (const auto size : shape) count *= size;
  return count;
}

std::int64_t ParameterSpec::first_element() const { return first_row == 0 ? 0 : num_elements() / shape[0] * first_row; }

Block::~Block() = default;

std::vector<std::string> Block::saved_classes() const { return {}; }

at::Tensor Block::forward_saving(std::span<const at::Tensor> parameters, const at::Tensor& input,
                                 const MicroBatch& batch, SavedMask mask, SavedTensors&) const {
  SLUICE_CHECK(mask == 0, name(), " saves nothing for its backward");
  return forward(parameters, input, batch);
}

void Block::set_adapters(std::vector<LinearAdapter>) { SLUICE_CHECK(false, name(), " has no linear maps"); }

std::vector<std::int64_t> Block::cache_shape() const { return {}; }

at::Tensor Block::decode(std::span<const at::Tensor> parameters, const at::Tensor& input, const KvCache&, std::int64_t,
                         const MicroBatch& batch) const {
  return forward(parameters, input, batch);
}

std::vector<Segment> Block::segments(Computation) const { return {}; }

std::int64_t Block::scratch_elements(BatchShape) const { return 0; }

double Block::run_segment(Computation, int, const BlockTensors&) const {
  SLUICE_CHECK(false, name(), " has no segments");
  return 0;
}

at::Tensor LossBlock::forward(std::span<const at::Tensor>, const at::Tensor&, const MicroBatch&) const {
  SLUICE_CHECK(false, name(), " ends in a loss and writes no boundary");
  return {};
}

at::Tensor LossBlock::backward(const BackwardInputs&, SavedTensors) const {
  SLUICE_CHECK(false, name(), " ends in a loss: its backward is loss_and_gradients");
  return {};
}

}  // namespace sluice::model
