#include "model/row_kernel.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "kernel/column_sum.h"
#include "model/op_cost.h"
#include "model/parallel.h"
#include "model/place.h"

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
  add_row_sums(
      {&gradient, 1}, {num_rows, gradient.numel(), gradient.options()},
      [&](std::int64_t first, std::int64_t last, std::span<float* const> partials) { body(first, last, partials[0]); });
}

void add_row_sums(std::span<const at::Tensor> gradients, const SummedRows& rows,
                  c10::function_ref<void(std::int64_t, std::int64_t, std::span<float* const>)> body) {
  const RowTiles tiles(rows.num_rows);
  std::vector<at::Tensor> sums;
  for (const at::Tensor& gradient : gradients)
    sums.push_back(gradient.defined() ? at::empty({tiles.count, rows.width}, rows.options) : at::Tensor());
  if (rows.options.device().is_meta()) return;
  const auto tile_of = [&](std::int64_t tile) {
    std::vector<float*> partials;
    for (const at::Tensor& sum : sums) {
      partials.push_back(sum.defined() ? write_data(sum) + tile * rows.width : nullptr);
      if (sum.defined()) std::fill(partials.back(), partials.back() + rows.width, 0.0F);
    }
    return partials;
  };
  for_rows(tiles.count, tiles.rows * rows.width, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t tile = first; tile < last; ++tile)
      body(tile * tiles.rows, std::min(rows.num_rows, (tile + 1) * tiles.rows), tile_of(tile));
  });
  const auto count = static_cast<std::size_t>(tiles.count), width = static_cast<std::size_t>(rows.width);
  for (std::size_t i = 0; i < gradients.size(); ++i)
    if (sums[i].defined()) kernel::add_column_sums({count, width, width, read_data(sums[i])}, write_data(gradients[i]));
}

void add_column_sums(const at::Tensor& x, const at::Tensor& gradient) {
  if (uses_torch()) {
    at::Tensor(gradient).add_(x.sum(0));
    return;
  }
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
