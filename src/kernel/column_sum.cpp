#include "kernel/column_sum.h"

#include "base/isa.h"

namespace sluice::kernel {
namespace {

struct AddRows {
  const ColumnSumRows& rows;
  float* sums_data;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    float* __restrict const sums = sums_data;
    const std::size_t width = rows.width;
    for (std::size_t row = 0; row < num_rows; ++row) {
      const float* __restrict const values = rows.rows + row * rows.stride;
      for (std::size_t i = 0; i < width; ++i) sums[i] += values[i];
    }
  }
};

}  // namespace

void add_column_sums(const ColumnSumRows& rows, float* sums) { run_widest(AddRows{rows, sums}, rows.num_rows); }

}  // namespace sluice::kernel
