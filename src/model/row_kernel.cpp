#include "model/row_kernel.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/check.h"
#include "kernel/column_sum.h"
#include "model/op_cost.h"
#include "model/parallel.h"

namespace sluice::model {
namespace {

constexpr std::int64_t kGrainElements = 16384;  // less is not worth waking a thread for

// Tiles of a sum over rows: enough for many threads, few enough that the partial sums are small beside the rows.
struct RowTiles {
  explicit RowTiles(std::int64_t num_rows)
      : rows(std::max<std::int64_t>(16, (num_rows + 63) / 64)), count((num_rows + rows - 1) / rows) {}
  std::int64_t rows, count;
};

}  // namespace

bool begin_pass(const at::Tensor& like, Bytes bytes, std::int64_t elements) {
  plan::OpCost cost;
  cost.bytes = bytes;
  cost.flops = static_cast<Flops>(elements);
  record_cost(cost);
  SLUICE_CHECK(like.is_cpu() || like.is_meta(), "row kernels run on cpu and meta, not on ", like.device().str());
  return like.is_cpu();
}

void for_rows(std::int64_t num_rows, std::int64_t row_elements,
              c10::function_ref<void(std::int64_t, std::int64_t)> body) {
  const std::int64_t grain = std::max<std::int64_t>(1, kGrainElements / std::max<std::int64_t>(1, row_elements));
  parallel_ranges(num_rows, grain, body);
}

void add_row_sums(const at::Tensor& gradient, std::int64_t num_rows,
                  c10::function_ref<void(std::int64_t, std::int64_t, float*)> body) {
  const std::int64_t width = gradient.numel();
  const RowTiles tiles(num_rows);
  const at::Tensor partial = at::empty({tiles.count, width}, gradient.options());
  if (gradient.is_meta()) return;
  float* const sums = write_data(partial);
  for_rows(tiles.count, tiles.rows * width, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t tile = first; tile < last; ++tile) {
      float* const own = sums + tile * width;
      std::fill(own, own + width, 0.0F);
      body(tile * tiles.rows, std::min(num_rows, (tile + 1) * tiles.rows), own);
    }
  });
  const auto size = static_cast<std::size_t>(width);
  kernel::add_column_sums({static_cast<std::size_t>(tiles.count), size, size, sums}, write_data(gradient));
}

void add_column_sums(const at::Tensor& x, const at::Tensor& gradient) {
  const auto width = static_cast<std::size_t>(x.size(1)), stride = static_cast<std::size_t>(x.stride(0));
  SLUICE_CHECK(x.stride(1) == 1, "expected rows of neighbouring elements");
  const float* const rows = begin_pass(x, bytes_of(x), x.numel()) ? x.const_data_ptr<float>() : nullptr;
  add_row_sums(gradient, x.size(0), [&](std::int64_t first, std::int64_t last, float* partial) {
    const float* const from = rows + static_cast<std::size_t>(first) * stride;
    kernel::add_column_sums({static_cast<std::size_t>(last - first), width, stride, from}, partial);
  });
}

std::int64_t token_stride(const at::Tensor& x) {
  // A dimension of size 1 may have any stride.
  SLUICE_CHECK(x.size(3) == 1 || x.stride(3) == 1, "elements of a head must be next to each other");
  SLUICE_CHECK(x.size(2) == 1 || x.stride(2) == x.size(3), "heads must be next to each other");
  if (x.size(1) == 1) return x.stride(0);
  SLUICE_CHECK(x.size(0) == 1 || x.stride(0) == x.stride(1) * x.size(1), "sequences must follow each other");
  return x.stride(1);
}

const float* read_data(const at::Tensor& tensor) {
  SLUICE_CHECK(tensor.is_contiguous() && tensor.scalar_type() == at::kFloat, "expected contiguous fp32");
  return tensor.const_data_ptr<float>();
}

float* write_data(const at::Tensor& tensor) {
  SLUICE_CHECK(tensor.is_contiguous() && tensor.scalar_type() == at::kFloat, "expected contiguous fp32");
  return tensor.mutable_data_ptr<float>();
}

}  // namespace sluice::model
