#include "model/saved_layout.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/check.h"
#include "plan/first_fit.h"

namespace sluice::model {

SavedLayout::SavedLayout(const SavedTensors& saved) : bytes_(saved.size(), 0), views_(saved.size()) {
  for (int c = 0; c < static_cast<int>(saved.size()); ++c) {
    for (const at::Tensor& tensor : saved[c]) {
      const Bytes first = place(tensor.storage(), c);
      const Bytes within = tensor.storage_offset() * static_cast<Bytes>(tensor.element_size());
      views_[c].push_back({tensor.sizes().vec(), tensor.strides().vec(), first + within, tensor.scalar_type()});
    }
  }
}

Bytes SavedLayout::place(const c10::Storage& storage, int saved_class) {
  const void* key = storage.data_ptr().get_context();
  for (const Storage& known : storages_) {
    if (known.key != key) continue;
    SLUICE_CHECK(known.saved_class == saved_class, "a saved storage belongs to two classes");
    return known.offset;
  }
  const Bytes offset = bytes_[saved_class];
  storages_.push_back({key, saved_class, offset});
  bytes_[saved_class] += round_up(static_cast<Bytes>(storage.nbytes()), plan::FirstFit::kAlignment);
  return offset;
}

SavedTensors SavedLayout::bind(const SavedBuffers& buffers, c10::Device device) const {
  SavedTensors saved(views_.size());
  for (std::size_t c = 0; c < views_.size(); ++c) {
    for (const View& view : views_[c]) {
      saved[c].push_back(at::for_blob(buffers[c] + view.offset, view.sizes)
                             .strides(view.strides)
                             .options(at::TensorOptions(device).dtype(view.type))
                             .target_device(device)  // torch need not ask where the memory is
                             .make_tensor());
    }
  }
  return saved;
}

SavedTensors SavedLayout::copy(const SavedTensors& saved, const SavedBuffers& buffers, c10::Device device) const {
  SavedTensors copies = bind(buffers, device);
  for (std::size_t c = 0; c < copies.size(); ++c) {
    for (std::size_t i = 0; i < copies[c].size(); ++i) copies[c][i].copy_(saved[c][i]);
  }
  return copies;
}

SavedTensors SavedLayout::bind_meta() const {
  SavedTensors saved(views_.size());
  for (std::size_t c = 0; c < views_.size(); ++c) {
    for (const View& view : views_[c]) {
      const auto options = at::TensorOptions().device(at::kMeta).dtype(view.type);
      saved[c].push_back(at::empty_strided(view.sizes, view.strides, options));
    }
  }
  return saved;
}

bool SavedLayout::stands_in(const SavedBuffers& buffers) const {
  return std::ranges::all_of(
      storages_, [&](const Storage& storage) { return storage.key == buffers[storage.saved_class] + storage.offset; });
}

}  // namespace sluice::model
