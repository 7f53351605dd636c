// What a tensor in a file is: its name, how its elements are stored, its shape. No bytes, no place.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace sluice::format {

/// `shape` in torch order (last dimension varies fastest); an empty shape is a scalar.
struct TensorInfo {
  std::string name;
  std::string dtype;  ///< "F32", "F16", "BF16", "I64", "Q4_1", ...
  std::vector<std::int64_t> shape;

  /// Product of the dimensions. Tensors from this folder's readers never overflow it.
  [[nodiscard]] std::int64_t num_elements() const;
};

/// "[576, 1536]".
std::string format_shape(const std::vector<std::int64_t>& shape);

}  // namespace sluice::format
