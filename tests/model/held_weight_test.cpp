// Weights in the formats that memory holds them in, against the numbers that these stand for.
#include "model/held_weight.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "model/place.h"

namespace sluice::model {
namespace {

// All numbers of a format, none of them NaN, as a tensor of its dtype and as fp32.
struct Numbers {
  at::Tensor held;
  std::vector<float> wide;
};
Numbers all_numbers(NumberFormat format) {
  const Bytes size = stored_bytes(format, 1);
  std::vector<float> wide;
  for (std::uint32_t code = 0; code < 1U << (8 * size); ++code) {
    float number = 0;
    widen(format, reinterpret_cast<const std::byte*>(&code), {&number, 1});
    if (!std::isnan(number)) wide.push_back(number);
  }
  at::Tensor held = at::empty({static_cast<std::int64_t>(wide.size())}, held_type(format));
  narrow(format, wide, static_cast<std::byte*>(held.mutable_data_ptr()));
  return {held, wide};
}

TEST(HeldWeight, IsTheSameNumberToTorch) {
  for (const NumberFormat format : {NumberFormat::Bf16, NumberFormat::Fp8}) {
    const Numbers numbers = all_numbers(format);
    const at::Tensor expected = at::tensor(numbers.wide);
    EXPECT_EQ(held_format(numbers.held.scalar_type()), format);
    EXPECT_TRUE(at::equal(wide_weight(numbers.held), expected));
    EXPECT_TRUE(at::equal(weight_as(at::kBFloat16, numbers.held).to(at::kFloat), expected));
  }
}

// By the kernels' loop and by torch's operators, of a matrix as it lies and of its transpose.
TEST(HeldWeight, IsWidenedToTheSameNumbersByEitherOperators) {
  const at::Tensor codes = all_numbers(NumberFormat::Fp8).held.repeat({300}).view({-1, 127});
  for (const at::Tensor& held : {codes, codes.t()}) {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
      const at::Tensor by_kernel = weight_as(type, held);
      compute_at({.operators = Operators::Torch});
      const at::Tensor by_torch = weight_as(type, held);
      compute_at({});
      EXPECT_TRUE(at::equal(by_kernel, by_torch));
      EXPECT_EQ(by_kernel.strides(), by_torch.strides());
    }
  }
}

TEST(HeldWeight, IsItselfWhereItIsWanted) {
  const at::Tensor wide = at::ones({4});
  EXPECT_TRUE(wide_weight(wide).is_same(wide));
  EXPECT_FALSE(wide_weight(at::Tensor()).defined());
}

}  // namespace
}  // namespace sluice::model
