#include "model/block.h"

#include <ATen/core/Tensor.h>

#include "base/check.h"
#include "model/cross_entropy.h"

namespace sluice::model {

void check_batch(const MicroBatch& batch, std::int64_t vocab_size) {
  const auto check = [&](const at::Tensor& given, std::int64_t other, const char* what) {
    const auto numbers = given.contiguous();
    for (const std::int64_t number :
         std::span(numbers.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(numbers.numel())))
      SLUICE_CHECK((number >= 0 && number < vocab_size) || number == other, what, " ", number, " of a vocabulary of ",
                   vocab_size);
  };
  check(batch.input_ids, 0, "token");
  if (batch.labels.defined()) check(batch.labels, kNoTarget, "label");
}

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
