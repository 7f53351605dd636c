#include "optim/state_spec.h"

namespace sluice::optim {

std::int64_t num_elements(Extent extent, std::span<const std::int64_t> shape) {
  std::int64_t all = 1;
  for (const std::int64_t size : shape) all *= size;
  const bool matrix = shape.size() >= 2;
  switch (extent) {
    case Extent::Elements:
      return all;
    case Extent::LargeTensors:
      return all >= kLargeTensor ? all : 0;
    case Extent::Matrices:
      return matrix ? all : 0;
    case Extent::SmallTensors:
      return all < kLargeTensor ? all : 0;
    case Extent::Vectors:
      return matrix ? 0 : all;
    case Extent::Rows:
      return matrix && all > 0 ? all / shape.back() : 0;
    case Extent::Columns:
      return matrix ? shape.back() : 0;
    case Extent::Scalar:
      return 1;
  }
  return 0;
}

}  // namespace sluice::optim
