#include "model/product.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/check.h"
#include "model/held_weight.h"
#include "model/matrix_product.h"
#include "model/op_cost.h"
#include "model/place.h"

namespace sluice::model {
namespace {

bool is_narrow(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf; }

// What is traced on meta runs where computations do.
bool is_on_card(const at::Tensor& x) { return x.is_cuda() || (x.is_meta() && compute_place().device.is_cuda()); }

// Strides of dimensions of one element mean nothing.
bool has_rows(const at::Tensor& x) { return x.size(1) == 1 || x.stride(1) == 1; }

std::int64_t row_stride(const at::Tensor& x) { return x.size(0) == 1 ? x.size(1) : x.stride(0); }

NarrowMatrixPart part_of(const at::Tensor& x) {
  const bool transposed = !has_rows(x);
  const at::Tensor rows = transposed ? x.t() : x;
  SLUICE_CHECK(has_rows(rows), "expected a matrix with rows or columns of neighbouring elements");
  return {reinterpret_cast<const std::uint16_t*>(rows.const_data_ptr<at::BFloat16>()), row_stride(rows), transposed};
}

void record_narrow(const at::Tensor& a, const at::Tensor& b, bool adds) {
  plan::OpCost cost;
  cost.kind = plan::OpClass::NarrowMatMul;
  cost.m = a.size(0);
  cost.k = a.size(1);
  cost.n = b.size(1);
  cost.flops = 2.0 * static_cast<double>(cost.m) * static_cast<double>(cost.k) * static_cast<double>(cost.n);
  const auto narrow = static_cast<Bytes>(sizeof(std::uint16_t)), wide = static_cast<Bytes>(sizeof(float));
  cost.bytes = narrow * (cost.m * cost.k + cost.k * cost.n) + wide * cost.m * cost.n * (adds ? 2 : 1);
  record_cost(cost);
}

struct Sum {
  bool adds = false;
  double scale = 1;
};

// BLAS writes rows: where the columns of `c` are rows in memory, its transpose is made, c^T = b^T a^T.
void multiply_into(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, const Sum& sum) {
  if (!has_rows(c)) return multiply_into(c.t(), b.t(), a.t(), sum);
  multiply({a.size(0), b.size(1), a.size(1)}, part_of(a), part_of(b),
           {c.mutable_data_ptr<float>(), row_stride(c), sum.adds}, static_cast<float>(sum.scale));
}

// On a card matrix units sum in fp32; elsewhere the inputs are widened, which gives the same products.
void torch_product(at::Tensor c, const at::Tensor& a, const at::Tensor& b, const Sum& sum) {
  at::Tensor made;
  if (is_on_card(a)) {
    record_narrow(a, b, sum.adds);  // by hand, as torch cannot play it on meta
    made = at::empty({a.size(0), b.size(1)}, a.options().dtype(at::kFloat));
    if (!made.is_meta()) at::mm_out(made, a, b, at::kFloat);
  } else {
    made = at::mm(a.to(at::kFloat), b.to(at::kFloat));
  }
  if (sum.adds) {
    c.add_(made, sum.scale);
  } else {
    c.copy_(made);
  }
}

void narrow_product(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, const Sum& sum) {
  SLUICE_CHECK(a.scalar_type() == b.scalar_type() && c.scalar_type() == at::kFloat, "expected one dtype and fp32 sums");
  SLUICE_CHECK(a.size(1) == b.size(0) && c.size(0) == a.size(0) && c.size(1) == b.size(1), "shapes do not fit");
  if (uses_torch() || a.scalar_type() == at::kHalf) return torch_product(c, a, b, sum);
  SLUICE_CHECK(c.is_cpu() || c.is_meta(), "bf16 products run on cpu and meta, not on ", c.device().str());
  record_narrow(a, b, sum.adds);
  if (!c.is_meta()) multiply_into(c, a, b, sum);
}

}  // namespace

at::Tensor product_input(const at::Tensor& x, NumberFormat compute) {
  SLUICE_CHECK(compute != NumberFormat::Fp8, "no products in ", name(compute));
  return weight_as(held_type(compute), x);
}

at::Tensor input_like(const at::Tensor& other, const at::Tensor& x) { return weight_as(other.scalar_type(), x); }

at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  if (!is_narrow(a)) return at::mm(a, b);
  at::Tensor c = at::empty({a.size(0), b.size(1)}, a.options().dtype(at::kFloat));
  narrow_product(c, a, b, {});
  return c;
}

at::Tensor product_plus(const at::Tensor& row, const at::Tensor& a, const at::Tensor& b) {
  if (!is_narrow(a)) return at::addmm(row, a, b);
  return product(a, b).add_(row);
}

void product_out(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b) {
  if (is_narrow(a)) return narrow_product(c, a, b, {});
  at::Tensor out = c;
  at::mm_out(out, a, b);
}

void add_product(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, double scale) {
  if (is_narrow(a)) return narrow_product(c, a, b, {.adds = true, .scale = scale});
  c.addmm_(a, b, 1, scale);
}

}  // namespace sluice::model
