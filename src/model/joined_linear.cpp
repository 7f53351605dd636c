#include "model/joined_linear.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "model/row_kernel.h"

namespace sluice::model {
namespace {

// Parts of one chunk are views of one storage. Addresses alone do not tell: two chunks may happen to lie side by side.
bool follows(const at::Tensor& next, const at::Tensor& matrix) {
  return next.is_alias_of(matrix) && next.storage_offset() == matrix.storage_offset() + matrix.numel();
}

std::vector<at::Tensor> weights_of(const JoinedLinear& p) {
  std::vector<at::Tensor> weights;
  for (const Linear& part : p) weights.push_back(part.weight);
  return weights;
}

// part(i, columns of `rows` that belong to map i)
template <typename Part>
void for_parts(const at::Tensor& rows, const JoinedLinear& widths, const Part& part) {
  std::int64_t column = 0;
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const std::int64_t width = widths[i].weight.size(0);
    part(i, rows.narrow(1, column, width));
    column += width;
  }
}

// The gradient of all products, as `before_magnitude` has that of one.
at::Tensor before_magnitudes(const JoinedLinear& p, const at::Tensor& dy) {
  if (std::ranges::none_of(p, [](const Linear& part) { return part.adapter.magnitude.defined(); })) return dy;
  at::Tensor dz = dy.clone();
  for_parts(dz, p, [&](std::size_t i, at::Tensor columns) {
    if (p[i].adapter.magnitude.defined()) columns.mul_(magnitude_factors(p[i].adapter, p[i].weight));
  });
  return dz;
}

}  // namespace

at::Tensor join_rows(const std::vector<at::Tensor>& matrices) {
  std::int64_t num_rows = 0;
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    if (!matrices[i].defined() || !matrices[i].is_contiguous()) return {};
    if (i > 0 && !follows(matrices[i], matrices[i - 1])) return {};
    num_rows += matrices[i].size(0);
  }
  const at::Tensor& first = matrices.front();
  const std::int64_t width = first.size(1);
  return first.as_strided({num_rows, width}, {width, 1});
}

at::Tensor joined_linear(const JoinedLinear& p, const at::Tensor& x) {
  std::int64_t width = 0;
  for (const Linear& part : p) width += part.weight.size(0);
  at::Tensor y = at::empty({x.size(0), width}, x.options());
  const at::Tensor joined = join_rows(weights_of(p));
  if (joined.defined()) at::mm_out(y, x, joined.t());
  for_parts(y, p, [&](std::size_t i, at::Tensor columns) {
    if (!joined.defined()) at::mm_out(columns, x, p[i].weight.t());
    complete_linear(p[i], x, columns);
  });
  return y;
}

void add_joined_gradients(const JoinedLinear& p, const JoinedLinear& gradients, const at::Tensor& dy,
                          const at::Tensor& x) {
  for_parts(dy, p, [&](std::size_t i, const at::Tensor& columns) {
    add_magnitude_gradient(p[i], gradients[i], columns, x);
    if (gradients[i].bias.defined()) add_column_sums(columns, gradients[i].bias);
  });
  const at::Tensor dz = before_magnitudes(p, dy);
  at::Tensor joined = join_rows(weights_of(gradients));
  if (joined.defined()) joined.addmm_(dz.t(), x);
  for_parts(dz, p, [&](std::size_t i, const at::Tensor& columns) {
    at::Tensor weight = gradients[i].weight;
    if (!joined.defined() && weight.defined()) weight.addmm_(columns.t(), x);
    add_low_rank_gradients(p[i].adapter, gradients[i].adapter, columns, x);
  });
}

at::Tensor joined_backward(const JoinedLinear& p, const at::Tensor& dy) {
  const at::Tensor dz = before_magnitudes(p, dy);
  const at::Tensor joined = join_rows(weights_of(p));
  at::Tensor dx;
  if (joined.defined()) dx = at::mm(dz, joined);
  for_parts(dz, p, [&](std::size_t i, const at::Tensor& columns) {
    if (!joined.defined()) dx = i == 0 ? at::mm(columns, p[i].weight) : dx.addmm_(columns, p[i].weight);
    add_low_rank_backward(p[i].adapter, columns, dx);
  });
  return dx;
}

bool wants_gradient(const JoinedLinear& gradients) {
  return std::ranges::any_of(gradients, [](const Linear& part) { return wants_gradient(part); });
}

}  // namespace sluice::model
