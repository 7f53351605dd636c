// How the saved tensors of a block lie in the planned buffers of their classes: storages one after the other, each once
// even where several tensors are views of it.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <span>
#include <vector>

#include "base/units.h"
#include "model/block.h"

namespace sluice::model {

/// A class's buffer in memory; nullptr for a class that is not saved.
using SavedBuffers = std::vector<std::byte*>;

class SavedLayout {
 public:
  SavedLayout() = default;
  /// Keeps shapes, no tensors. The same block, shapes and classes give the same layout on every device. InternalError
  /// when a storage belongs to two classes.
  explicit SavedLayout(const SavedTensors& saved);

  /// One storage of a class: what allocated it knows it by `key`.
  struct Storage {
    const void* key = nullptr;
    int saved_class = 0;
    Bytes offset = 0;  ///< in the class's buffer, a multiple of 64
  };
  [[nodiscard]] std::span<const Storage> storages() const { return storages_; }
  /// Size of a class's buffer; 0 for a class that is not saved.
  [[nodiscard]] Bytes bytes(int saved_class) const { return bytes_[saved_class]; }

  /// The tensors as views of the buffers, memory of `device`; these must outlive them.
  [[nodiscard]] SavedTensors bind(const SavedBuffers& buffers, c10::Device device) const;
  /// The same with the values of the tensors that made this layout.
  [[nodiscard]] SavedTensors copy(const SavedTensors& saved, const SavedBuffers& buffers, c10::Device device) const;
  /// The same on the meta device, where buffers have no memory.
  [[nodiscard]] SavedTensors bind_meta() const;
  /// Are the storages of the tensors that made this layout where it puts them?
  [[nodiscard]] bool stands_in(const SavedBuffers& buffers) const;

 private:
  struct View {
    std::vector<std::int64_t> sizes, strides;
    Bytes offset = 0;
    at::ScalarType type = at::kFloat;
  };
  Bytes place(const c10::Storage& storage, int saved_class);

  std::vector<Storage> storages_;
  std::vector<Bytes> bytes_;              // per class
  std::vector<std::vector<View>> views_;  // per class
};

}  // namespace sluice::model
