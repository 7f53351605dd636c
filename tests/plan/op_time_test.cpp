// Prices of operators against ones computed by hand.
#include "plan/op_time.h"

#include <gtest/gtest.h>

#include <cmath>

namespace sluice::plan {
namespace {

TEST(PredictCompute, TakesTheSlowerOfMathAndMemoryPerOperator) {
  Machine machine;
  machine.compute = {.matmul = 100, .attention = 10, .memory = 50, .launch = 0.5};
  ComputeTrace compute;
  compute.ops = {{.kind = OpClass::MatMul, .flops = 1000, .bytes = 50},
                 {.kind = OpClass::MatMul, .flops = 10, .bytes = 100},
                 {.kind = OpClass::Attention, .flops = 30, .bytes = 50},
                 {.kind = OpClass::AttentionBackward, .flops = 40, .bytes = 50},
                 {.kind = OpClass::Memory, .flops = 1e9, .bytes = 200}};
  EXPECT_DOUBLE_EQ(predict_compute(compute, machine), 10 + 2 + 3 + 4 + 4 + 5 * 0.5);
}

TEST(PredictOp, ReadsEachClassFromItsOwnCurve) {
  ComputeRate rate{.matmul = 1, .attention = 1, .memory = 1};
  rate.products = {{64, 64, 64, 100}};
  rate.attention_forward = {{512, 8, 64, 20}};
  rate.attention_backward = {{512, 8, 64, 10}};
  rate.memory_by_size = {{1000, 400}};
  EXPECT_NEAR(predict_op({.kind = OpClass::MatMul, .flops = 1000, .bytes = 1 << 20, .m = 7, .n = 7, .k = 7}, rate), 10,
              1e-9);
  EXPECT_NEAR(predict_op({.kind = OpClass::Attention, .flops = 100, .m = 64, .n = 1, .k = 32}, rate), 5, 1e-9);
  EXPECT_NEAR(predict_op({.kind = OpClass::AttentionBackward, .flops = 100, .m = 64, .n = 1, .k = 32}, rate), 10, 1e-9);
  EXPECT_NEAR(predict_op({.kind = OpClass::Memory, .bytes = 5000}, rate), 12.5, 1e-9);
}

TEST(PredictOp, TakesLongerWhereThreadsGetUnequalShares) {
  const OpCost op{.kind = OpClass::AttentionBackward, .flops = 100, .m = 64, .n = 3, .k = 32, .imbalance = 4.0 / 3};
  ComputeRate rate{.attention = 50};
  EXPECT_NEAR(predict_op(op, rate), 8.0 / 3, 1e-9);
  rate.attention_backward = {{64, 3, 32, 100}};
  EXPECT_NEAR(predict_op(op, rate), 4.0 / 3, 1e-9);
}

TEST(PredictOp, PricesNarrowProductsByTheirOwnRatesOrLikeOthers) {
  const OpCost op{.kind = OpClass::NarrowMatMul, .flops = 1000, .bytes = 100, .m = 8, .n = 8, .k = 8};
  ComputeRate rate{.matmul = 100, .memory = 1e9};
  EXPECT_NEAR(predict_op(op, rate), 10, 1e-9);
  rate.products = {{8, 8, 8, 50}};
  EXPECT_NEAR(predict_op(op, rate), 20, 1e-9);
  rate.narrow_matmul = 200;
  EXPECT_NEAR(predict_op(op, rate), 5, 1e-9);
  rate.narrow_products = {{8, 8, 8, 500}};
  EXPECT_NEAR(predict_op(op, rate), 2, 1e-9);
}

TEST(ShapeCurve, IsExactAtItsPoints) {
  const std::vector<ShapeRate> points = {{64, 64, 64, 10}, {64, 64, 512, 40}, {2048, 64, 512, 90}};
  for (const ShapeRate& point : points) EXPECT_NEAR(rate_at(points, point), point.rate, point.rate * 1e-3);
}

TEST(ShapeCurve, TakesTheGeometricMeanHalfWay) {
  const std::vector<ShapeRate> points = {{64, 8, 8, 10}, {1024, 8, 8, 40}};
  EXPECT_NEAR(rate_at(points, {256, 8, 8}), 20, 1e-9);
}

TEST(ShapeCurve, StaysBetweenItsRatesAndNearTheNearest) {
  const std::vector<ShapeRate> points = {{64, 64, 64, 10}, {4096, 4096, 4096, 200}};
  EXPECT_NEAR(rate_at(points, {8192, 4096, 4096}), 200, 2);
  const Flops between = rate_at(points, {500, 400, 600});
  EXPECT_GT(between, 10);
  EXPECT_LT(between, 200);
}

TEST(SizeCurve, IsLinearInLogarithmsAndConstantBeyond) {
  const std::vector<SizeRate> points = {{1 << 10, 100}, {1 << 20, 25}};
  EXPECT_NEAR(rate_at(points, 1 << 15), 50, 1e-9);
  EXPECT_EQ(rate_at(points, 10), 100);
  EXPECT_EQ(rate_at(points, 1 << 30), 25);
  EXPECT_NEAR(rate_at(points, 1 << 20), 25, 1e-9);
}

TEST(Curves, SayNothingWithoutPoints) {
  EXPECT_EQ(rate_at(std::vector<ShapeRate>{}, {1, 1, 1}), 0);
  EXPECT_EQ(rate_at(std::vector<SizeRate>{}, 5), 0);
}

}  // namespace
}  // namespace sluice::plan
