#include "model/joined_linear.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "model/product.h"
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

// Maps of one input are computed alike.
NumberFormat compute_of(const JoinedLinear& p) { return p.front().compute; }

at::Tensor weight_input(const Linear& part) { return product_input(part.weight, part.compute); }

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

// The gradient of all products from that of what magnitudes make of them.
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
  const at::Tensor input = product_input(x, compute_of(p));
  const at::Tensor joined = join_rows(weights_of(p));
  if (joined.defined()) product_out(y, input, product_input(joined, compute_of(p)).t());
  for_parts(y, p, [&](std::size_t i, const at::Tensor& columns) {
    if (!joined.defined()) product_out(columns, input, weight_input(p[i]).t());
    complete_linear(p[i], input, columns);
  });
  return y;
}

OutputGradient make_output_gradient(const JoinedLinear& p, const at::Tensor& dy) {
  return {dy, product_input(before_magnitudes(p, dy), compute_of(p))};
}

void add_joined_gradients(const JoinedLinear& p, const JoinedLinear& gradients, const OutputGradient& d,
                          const at::Tensor& x) {
  const at::Tensor input = product_input(x, compute_of(p));
  for_parts(d.dy, p, [&](std::size_t i, const at::Tensor& columns) {
    add_magnitude_gradient(p[i], gradients[i], columns, input);
    if (gradients[i].bias.defined()) add_column_sums(columns, gradients[i].bias);
  });
  const at::Tensor joined = join_rows(weights_of(gradients));
  if (joined.defined()) add_product(joined, d.input.t(), input);
  for_parts(d.input, p, [&](std::size_t i, const at::Tensor& columns) {
    const at::Tensor& weight = gradients[i].weight;
    if (!joined.defined() && weight.defined()) add_product(weight, columns.t(), input);
    add_low_rank_gradients(p[i].adapter, gradients[i].adapter, columns, input);
  });
}

at::Tensor joined_backward(const JoinedLinear& p, const OutputGradient& d) {
  const at::Tensor joined = join_rows(weights_of(p));
  at::Tensor dx;
  if (joined.defined()) dx = product(d.input, product_input(joined, compute_of(p)));
  for_parts(d.input, p, [&](std::size_t i, const at::Tensor& columns) {
    if (!joined.defined() && i == 0) dx = product(columns, weight_input(p[i]));
    if (!joined.defined() && i > 0) add_product(dx, columns, weight_input(p[i]));
    add_low_rank_backward(p[i].adapter, columns, dx);
  });
  return dx;
}

bool wants_gradient(const JoinedLinear& gradients) {
  return std::ranges::any_of(gradients, [](const Linear& part) { return wants_gradient(part); });
}

}  // namespace sluice::model
