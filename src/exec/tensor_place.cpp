#include "exec/tensor_place.h"

#include <ATen/ATen.h>

#include "model/cpu_allocator.h"

namespace sluice::exec {

TensorPlace::TensorPlace(tier::Device* device)
    : device_(device == nullptr || device->is_addressable() ? nullptr : device),
      torch_(device_ == nullptr ? at::Device(at::kCPU) : at::Device(device_->torch_name())) {}

at::Tensor TensorPlace::view(std::byte* memory, at::IntArrayRef sizes, at::ScalarType type) const {
  return at::for_blob(memory, sizes)
      .options(at::TensorOptions(torch_).dtype(type))
      .target_device(torch_)  // torch need not ask where the memory is
      .make_tensor();
}

void TensorPlace::bring(std::span<const model::MicroBatch> micro_batches) {
  batches_.assign(micro_batches.begin(), micro_batches.end());
  if (device_ == nullptr) return;
  device_->limit_workspace(0);  // they outlive every computation of the period
  for (model::MicroBatch& batch : batches_) {
    batch.input_ids = batch.input_ids.to(torch_);
    if (batch.labels.defined()) batch.labels = batch.labels.to(torch_);
  }
  wait();
}

void TensorPlace::limit_workspace(Bytes limit) {
  if (device_ == nullptr) return model::limit_workspace(limit);
  device_->limit_workspace(limit);
}

Bytes TensorPlace::workspace_peak() const {
  return device_ == nullptr ? model::workspace_peak() : device_->workspace_peak();
}

void TensorPlace::wait() {
  if (device_ != nullptr) device_->wait();
}

}  // namespace sluice::exec
