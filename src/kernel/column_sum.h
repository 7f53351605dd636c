// Sums over rows: gradients of what every row shares (biases, weights of norms).
#pragma once
#include <cstddef>

namespace sluice::kernel {

/// Rows of `width` elements that begin `stride` elements apart.
struct ColumnSumRows {
  std::size_t num_rows, width, stride;
  const float* rows;
};

/// sums[c] += row 0's c, then row 1's, ...
void add_column_sums(const ColumnSumRows& rows, float* sums);

}  // namespace sluice::kernel
