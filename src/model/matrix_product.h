// The BLAS that is inside libtorch (MKL), for products of parts of matrices inside work that is itself dealt out to
// threads.
#pragma once
#include <cstdint>

namespace sluice::model {

/// Part of a row-major matrix whose rows begin `stride` elements apart.
struct MatrixPart {
  const float* data;
  std::int64_t stride;
  bool transposed = false;  ///< taken as its transpose
};

/// The same of bf16 numbers.
struct NarrowMatrixPart {
  const std::uint16_t* data;
  std::int64_t stride;
  bool transposed = false;
};

struct ProductSizes {
  std::int64_t m, n, k;
};

struct MatrixTarget {
  float* data;
  std::int64_t stride;
  bool adds = false;  ///< added to, not overwritten
};

/// While it lives, products of this thread run on this thread alone: results do not depend on the number of threads.
class SequentialProducts {
 public:
  SequentialProducts();
  ~SequentialProducts();
  SequentialProducts(const SequentialProducts&) = delete;
  SequentialProducts& operator=(const SequentialProducts&) = delete;

 private:
  int before_ = 0;
};

/// c [m,n] = a [m,k] b [k,n].
void multiply(ProductSizes sizes, const MatrixPart& a, const MatrixPart& b, const MatrixTarget& c);
/// c [m,n] = scale * a [m,k] b [k,n], summed in fp32: by the processor's bf16 instructions or, where it has none, more
/// slowly by those of fp32.
void multiply(ProductSizes sizes, const NarrowMatrixPart& a, const NarrowMatrixPart& b, const MatrixTarget& c,
              float scale);

}  // namespace sluice::model
