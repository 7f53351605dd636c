#include "plan/op_time.h"

#include <algorithm>
#include <cmath>

namespace sluice::plan {
namespace {

double log_of(double value) { return std::log2(std::max(value, 1.0)); }

double squared_distance(const ShapeRate& a, const ShapeRate& b) {
  const double m = log_of(static_cast<double>(a.m)) - log_of(static_cast<double>(b.m));
  const double n = log_of(static_cast<double>(a.n)) - log_of(static_cast<double>(b.n));
  const double k = log_of(static_cast<double>(a.k)) - log_of(static_cast<double>(b.k));
  return m * m + n * n + k * k;
}

double at_rate(double amount, double per_second) { return per_second > 0 ? amount / per_second : 0.0; }

Seconds memory_time(Bytes bytes, const ComputeRate& rate) {
  const BytesPerSecond measured = rate_at(rate.memory_by_size, bytes);
  return at_rate(static_cast<double>(bytes), measured > 0 ? measured : rate.memory);
}

Seconds math_time(const OpCost& op, std::span<const ShapeRate> points, Flops otherwise, const ComputeRate& rate) {
  const Flops measured = rate_at(points, {op.m, op.n, op.k});
  const Flops work = op.flops * op.imbalance;
  if (measured > 0) return work / measured;
  return std::max(at_rate(work, otherwise), memory_time(op.bytes, rate));
}

// On a machine of which nobody said how fast it multiplies bf16 numbers: like fp32 ones.
Seconds narrow_product_time(const OpCost& op, const ComputeRate& rate) {
  const bool known = !rate.narrow_products.empty() || rate.narrow_matmul > 0;
  return known ? math_time(op, rate.narrow_products, rate.narrow_matmul, rate)
               : math_time(op, rate.products, rate.matmul, rate);
}

}  // namespace

Flops rate_at(std::span<const ShapeRate> points, const ShapeRate& shape) {
  constexpr double kSamePoint = 1e-4;  // an exact hit outweighs all others and divides by no zero
  double weights = 0, sum = 0;
  for (const ShapeRate& point : points) {
    const double distance = squared_distance(point, shape) + kSamePoint;
    const double weight = 1 / (distance * distance);
    weights += weight;
    sum += weight * std::log(point.rate);
  }
  return weights > 0 ? std::exp(sum / weights) : 0;
}

BytesPerSecond rate_at(std::span<const SizeRate> points, Bytes size) {
  if (points.empty()) return 0;
  const auto above = std::ranges::lower_bound(points, size, {}, &SizeRate::bytes);
  if (above == points.begin()) return points.front().rate;
  if (above == points.end()) return points.back().rate;
  const SizeRate &low = *(above - 1), &high = *above;
  const double low_log = log_of(static_cast<double>(low.bytes)), high_log = log_of(static_cast<double>(high.bytes));
  const double share = (log_of(static_cast<double>(size)) - low_log) / (high_log - low_log);
  return std::exp(std::lerp(std::log(low.rate), std::log(high.rate), share));
}

Seconds predict_op(const OpCost& op, const ComputeRate& rate) {
  switch (op.kind) {
    case OpClass::MatMul:
      return math_time(op, rate.products, rate.matmul, rate) + rate.launch;
    case OpClass::NarrowMatMul:
      return narrow_product_time(op, rate) + rate.launch;
    case OpClass::Attention:
      return math_time(op, rate.attention_forward, rate.attention, rate) + rate.launch;
    case OpClass::AttentionBackward:
      return math_time(op, rate.attention_backward, rate.attention, rate) + rate.launch;
    case OpClass::Memory:
      return memory_time(op.bytes, rate) + rate.launch;
  }
  return 0;
}

Seconds predict_compute(const ComputeTrace& compute, const Machine& machine) {
  Seconds total = 0;
  for (const OpCost& op : compute.ops) total += predict_op(op, machine.compute);
  return total;
}

}  // namespace sluice::plan
