// Lets a block write its forward and backward by hand: one autograd node for the whole computation. The backward takes
// saved tensors one by one and so decides when each is released, and adds parameter gradients in place.
#pragma once
#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <functional>
#include <span>
#include <vector>

namespace sluice::model {

/// Activations kept for the backward, through autograd's saved variables (so that their hooks see them).
class SavedTensors {
 public:
  SavedTensors() = default;
  void save(const at::Tensor& tensor) { saved_.emplace_back(tensor, /*is_output=*/false); }
  /// The tensor saved as number `index`, no longer held here: the caller may overwrite it, and frees it by dropping it.
  [[nodiscard]] at::Tensor take(std::size_t index);
  void clear() { saved_.clear(); }

 private:
  std::vector<torch::autograd::SavedVariable> saved_;
};

/// Given dY, adds to `gradients` (one per parameter, undefined: not wanted) and returns dX (undefined where the block
/// has no input). Runs once, with gradients disabled.
using ExplicitBackward =
    std::function<at::Tensor(SavedTensors& saved, const at::Tensor& dy, std::span<const at::Tensor> gradients)>;

/// True when a forward of these tensors must be differentiable.
[[nodiscard]] bool needs_backward(const at::Tensor& input, std::span<const at::Tensor> parameters);

/// Makes `output`, fresh and computed without autograd, the result of one node with this backward. `input` may be
/// undefined. Gradients of leaf parameters with a defined `.grad()` are added there.
[[nodiscard]] at::Tensor attach_backward(at::Tensor output, const at::Tensor& input,
                                         std::span<const at::Tensor> parameters, SavedTensors saved,
                                         ExplicitBackward backward);

/// A result of `shape` whose values nobody reads: one element of memory.
[[nodiscard]] at::Tensor placeholder_output(at::IntArrayRef shape, const at::TensorOptions& options);

}  // namespace sluice::model
