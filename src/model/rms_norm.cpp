#include "model/rms_norm.h"

#include <ATen/ATen.h>

#include "model/row_tile.h"
#include "model/scalar.h"

namespace sluice::model {

NormResult rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  at::Tensor y = at::empty_like(x);
  at::Tensor rstd = at::empty({x.size(0), 1}, x.options());
  at::mul_out(y, x, x);
  at::sum_out(rstd, y, {1}, /*keepdim=*/true);
  rstd.mul_(scalar(1.0 / static_cast<double>(x.size(1)))).add_(scalar(eps)).rsqrt_();
  at::mul_out(y, x, rstd);
  y.mul_(weight);
  return {y, rstd};
}

at::Tensor rms_norm_again(const at::Tensor& x, const at::Tensor& rstd, const at::Tensor& weight) {
  at::Tensor y = at::empty_like(x);
  at::mul_out(y, x, rstd);
  y.mul_(weight);
  return y;
}

// With n = x * rstd: dw = sum over rows of dy * n, dx = rstd * (dy * w - n * mean(dy * n * w)).
void add_rms_norm_backward(at::Tensor& dy, const at::Tensor& x, const at::Tensor& rstd, const at::Tensor& weight,
                           const at::Tensor& weight_gradient, at::Tensor& dx) {
  const std::int64_t num_rows = x.size(0), width = x.size(1), tile = row_tile(num_rows, width);
  at::Tensor normalised_tile = at::empty({tile, width}, x.options());
  at::Tensor product_tile = at::empty({tile, width}, x.options());
  at::Tensor mean_tile = at::empty({tile, 1}, x.options());
  at::Tensor column_sum = at::empty({width}, x.options());
  const at::Tensor width_inverse = scalar(1.0 / static_cast<double>(width));
  for (std::int64_t row = 0; row < num_rows; row += tile) {
    const std::int64_t n = std::min(tile, num_rows - row);
    at::Tensor g = dy.narrow(0, row, n), scale = rstd.narrow(0, row, n);
    at::Tensor normalised = normalised_tile.narrow(0, 0, n), product = product_tile.narrow(0, 0, n);
    at::Tensor mean = mean_tile.narrow(0, 0, n);
    at::mul_out(normalised, x.narrow(0, row, n), scale);
    at::mul_out(product, g, normalised);
    if (weight_gradient.defined()) {
      at::sum_out(column_sum, product, {0});
      weight_gradient.add_(column_sum);
    }
    product.mul_(weight);
    at::sum_out(mean, product, {1}, /*keepdim=*/true);
    mean.mul_(width_inverse);
    normalised.mul_(mean);
    g.mul_(weight).sub_(normalised).mul_(scale);
    dx.narrow(0, row, n).add_(g);
  }
}

}  // namespace sluice::model
