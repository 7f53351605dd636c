// Runs kernels over rows (src/kernel) on tensors: rows are dealt out to torch's threads, the cost is recorded, meta
// tensors compute nothing. A kernel's rows do not depend on each other, and sums over rows go by tiles whose number
// follows from the shape alone, so bits do not depend on the number of threads.
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/util/FunctionRef.h>

#include <cstdint>
#include <span>

#include "base/units.h"

namespace sluice::model {

/// Records one pass that moves `bytes` and works on `elements`; true when values are to be computed, false on meta.
/// Throws InternalError for another device than the CPU.
[[nodiscard]] bool begin_pass(const at::Tensor& like, Bytes bytes, std::int64_t elements);

/// body(first, last) for ranges that together are [0, num_rows), on several threads where that pays.
void for_rows(std::int64_t num_rows, std::int64_t row_elements,
              c10::function_ref<void(std::int64_t, std::int64_t)> body);

/// gradient [D] += the sum over rows of what `body` adds to partial sums: body(first, last, partial [D], zeroed) is
/// called once per tile of rows. Allocates the partial sums; on meta that is all it does.
void add_row_sums(const at::Tensor& gradient, std::int64_t num_rows,
                  c10::function_ref<void(std::int64_t, std::int64_t, float*)> body);

/// Rows whose sums are wanted.
struct SummedRows {
  std::int64_t num_rows, width;
  at::TensorOptions options;
};
/// The same for several gradients at once; null stands for the partial sums of an undefined one.
void add_row_sums(std::span<const at::Tensor> gradients, const SummedRows& rows,
                  c10::function_ref<void(std::int64_t, std::int64_t, std::span<float* const>)> body);

/// gradient [D] += sum over the rows of x [T,D], which may be columns of a wider matrix.
void add_column_sums(const at::Tensor& x, const at::Tensor& gradient);

/// Elements from one token's heads to the next token's in x [B,S,H,d], whose heads must lie next to each other and
/// whose sequences must follow each other (InternalError otherwise).
[[nodiscard]] std::int64_t token_stride(const at::Tensor& x_BSHd);

/// Bytes of a tensor's elements.
[[nodiscard]] inline Bytes bytes_of(const at::Tensor& tensor) {
  return tensor.numel() * static_cast<Bytes>(tensor.element_size());
}

/// The data of a tensor that kernels may walk as one block of fp32.
[[nodiscard]] const float* read_data(const at::Tensor& tensor);
[[nodiscard]] float* write_data(const at::Tensor& tensor);

}  // namespace sluice::model
