// How many rows an element-wise pass takes at a time when it needs scratch memory: a function of the shape alone, so
// that neither bits nor memory depend on anything else.
#pragma once
#include <algorithm>
#include <cstdint>

namespace sluice::model {

/// Rows per pass for rows of `row_elements`: at most 4 MiB of fp32 scratch, at least one row.
inline std::int64_t row_tile(std::int64_t num_rows, std::int64_t row_elements) {
  constexpr std::int64_t kTileElements = std::int64_t{1} << 20;
  return std::min(num_rows, std::max<std::int64_t>(1, kTileElements / row_elements));
}

}  // namespace sluice::model
