// Where block math runs, as tensors see it: memory of the CPU, or that of a device which the host may not touch.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <span>
#include <vector>

#include "model/block.h"
#include "plan/plan.h"
#include "tier/device.h"

namespace sluice::exec {

/// For the thread that computes.
class TensorPlace {
 public:
  /// Borrows it. nullptr, or one that is addressable: the CPU.
  explicit TensorPlace(tier::Device* device);

  [[nodiscard]] bool is_foreign() const { return device_ != nullptr; }
  [[nodiscard]] at::Device torch_device() const { return torch_; }
  /// Whether a slot's memory is the foreign device's.
  [[nodiscard]] bool holds(const plan::Slot& slot) const { return is_foreign() && slot.tier == 0; }
  /// Numbers that lie there already.
  [[nodiscard]] at::Tensor view(std::byte* memory, at::IntArrayRef sizes, at::ScalarType type = at::kFloat) const;

  /// Brings a period's tokens there; what was brought before goes.
  void bring(std::span<const model::MicroBatch> micro_batches);
  /// One of them.
  [[nodiscard]] const model::MicroBatch& micro_batch(int number) const { return batches_[number]; }

  /// Torch's temporaries of the computation that comes may go so far.
  void limit_workspace(Bytes limit);
  [[nodiscard]] Bytes workspace_peak() const;
  /// Returns when everything that was asked for is done. Throws IoError.
  void wait();

 private:
  tier::Device* const device_;
  const at::Device torch_;
  std::vector<model::MicroBatch> batches_;
};

}  // namespace sluice::exec
