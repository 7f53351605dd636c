#include "train/compute_rates.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <vector>

#include "base/log.h"
#include "model/attention.h"
#include "model/attention_tiles.h"
#include "model/cpu_allocator.h"
#include "model/parallel.h"
#include "model/product.h"
#include "optim/norm.h"
#include "optim/rule.h"
#include "plan/op_time.h"
#include "train/aligned_floats.h"
#include "train/block_rates.h"

namespace sluice::train {
namespace {

constexpr Bytes kCaches = 64 * MiB;  // more than the caches of most machines: weights come from memory, as in a step

// The three products of a linear layer, in the layouts in which blocks call them.
enum class Role { Forward, InputGradient, WeightGradient };

struct ProductPoint {
  std::int64_t m, n, k;
  Role role = Role::Forward;
  bool quick = false;
};

// Few and many tokens, narrow and wide layers; the head's product of few rows with many columns and its two backwards.
constexpr ProductPoint kProducts[] = {
    {64, 128, 128},
    {64, 512, 512, Role::Forward, true},
    {64, 1536, 1536},
    {256, 128, 128},
    {256, 512, 512},
    {256, 1536, 1536},
    {1024, 128, 128},
    {1024, 512, 512, Role::Forward, true},
    {1024, 1536, 1536},
    {4096, 128, 128},
    {4096, 512, 512},
    {1024, 2048, 512},
    {1024, 512, 2048, Role::InputGradient},
    {256, 4096, 4096, Role::InputGradient},
    {1024, 192, 576},
    {128, 128, 64, Role::WeightGradient},
    {512, 512, 64, Role::WeightGradient, true},
    {1536, 1536, 64, Role::WeightGradient},
    {128, 128, 256, Role::WeightGradient},
    {512, 512, 256, Role::WeightGradient},
    {1536, 1536, 256, Role::WeightGradient},
    {128, 128, 1024, Role::WeightGradient},
    {512, 512, 1024, Role::WeightGradient, true},
    {1536, 1536, 1024, Role::WeightGradient},
    {128, 128, 4096, Role::WeightGradient},
    {512, 512, 4096, Role::WeightGradient},
    {2048, 512, 1024, Role::WeightGradient},
    {512, 2048, 1024, Role::WeightGradient},
    {64, 32768, 128},
    {64, 32768, 512},
    {256, 32768, 128},
    {256, 32768, 512},
    {64, 512, 32768, Role::InputGradient},
    {256, 128, 32768, Role::InputGradient},
    {256, 512, 32768, Role::InputGradient},
    {32768, 512, 64, Role::WeightGradient},
    {32768, 128, 256, Role::WeightGradient},
    {32768, 512, 256, Role::WeightGradient},
    {256, 8192, 512, Role::Forward, true},
    {8192, 512, 256, Role::WeightGradient, true},
};

struct AttentionPoint {
  std::int64_t positions, heads, head_size;
  bool quick = false;
};

constexpr AttentionPoint kAttention[] = {{64, 32, 32},  {64, 16, 64},  {256, 16, 32}, {256, 16, 64, true},
                                         {256, 8, 128}, {512, 36, 64}, {1024, 4, 32}, {1024, 8, 64, true}};

struct SizePoint {
  Bytes bytes;
  bool quick = false;
};

constexpr SizePoint kSizes[] = {{96 * KiB, true}, {384 * KiB},      {3 * MiB / 2, true}, {6 * MiB},
                                {24 * MiB, true}, {48 * MiB, true}, {192 * MiB}};

class Measuring {
 public:
  Measuring(Effort effort, Bytes memory) : quick_(effort == Effort::Quick), memory_(memory) {}

  [[nodiscard]] bool wanted(bool quick) const { return quick || !quick_; }
  [[nodiscard]] Bytes memory() const { return memory_; }
  [[nodiscard]] Bytes large() const { return std::min(memory_, 3 * kCaches); }
  [[nodiscard]] Seconds seconds_of(const std::function<void()>& run) const {
    return median_seconds(run, quick_ ? 0.03 : 0.08);
  }

 private:
  bool quick_;
  Bytes memory_;
};

// Operands take turns, so that what a step reads from memory is read from memory here. What is multiplied is of `type`,
// sums are fp32.
Seconds product_seconds(const Measuring& measuring, const ProductPoint& point, at::ScalarType type) {
  const bool to_gradient = point.role == Role::WeightGradient;
  const std::int64_t turning = to_gradient ? point.m * point.n : point.n * point.k;
  const std::int64_t copies =
      std::clamp<std::int64_t>(std::min(kCaches, measuring.memory() / 2) / (turning * Bytes{4}), 1, 64);
  const at::Tensor weights = at::ones({copies, turning}, to_gradient ? at::kFloat : type);
  const at::Tensor a = at::ones({to_gradient ? point.k : point.m, to_gradient ? point.m : point.k}, type);
  const at::Tensor b = to_gradient ? at::ones({point.k, point.n}, type) : at::Tensor();
  const at::Tensor out = to_gradient ? at::Tensor() : at::empty({point.m, point.n});
  std::int64_t turn = 0;
  return measuring.seconds_of([&] {
    const at::Tensor weight = weights.select(0, turn++ % copies);
    if (to_gradient)
      model::add_product(weight.view({point.m, point.n}), a.t(), b);
    else if (point.role == Role::Forward)
      model::product_out(out, a, weight.view({point.n, point.k}).t());
    else
      model::product_out(out, a, weight.view({point.k, point.n}));
  });
}

std::vector<plan::ShapeRate> measure_products(const Measuring& measuring, at::ScalarType type) {
  std::vector<plan::ShapeRate> points;
  for (const ProductPoint& point : kProducts) {
    const Bytes bytes = (point.m * point.n + point.n * point.k + point.m * point.k) * Bytes{4};
    if (!measuring.wanted(point.quick) || bytes > measuring.memory()) continue;
    const double flops =
        2.0 * static_cast<double>(point.m) * static_cast<double>(point.n) * static_cast<double>(point.k);
    points.push_back({point.m, point.n, point.k, flops / product_seconds(measuring, point, type)});
  }
  return points;
}

// Counted as the tracer does: 2 products forward, 5 backward, of which causality leaves half. Rates are those of threads
// with equal shares, whatever their number here; the tracer says what unequal ones cost.
void measure_attention(const Measuring& measuring, plan::ComputeRate& rate) {
  for (const AttentionPoint& point : kAttention) {
    if (!measuring.wanted(point.quick)) continue;
    const std::vector<std::int64_t> shape = {1, point.positions, point.heads, point.head_size};
    const at::Tensor q = at::rand(shape), k = at::rand(shape), v = at::rand(shape), dout = at::rand(shape);
    const model::AttentionResult saved = model::causal_attention(q, k, v);
    const model::AttentionSizes sizes{1, point.positions, point.heads, point.heads, point.head_size};
    const double one = static_cast<double>(q.numel()) * static_cast<double>(point.positions);
    const double forward_work = 2 * one * model::imbalance(sizes.forward_units());
    const double backward_work = 5 * one * model::imbalance(sizes.backward_units());
    const Seconds forward = measuring.seconds_of([&] { (void)model::causal_attention(q, k, v); });
    const Seconds backward =
        measuring.seconds_of([&] { (void)model::causal_attention_backward(dout, q, k, v, saved); });
    rate.attention_forward.push_back({point.positions, point.heads, point.head_size, forward_work / forward});
    rate.attention_backward.push_back({point.positions, point.heads, point.head_size, backward_work / backward});
  }
}

// Two tensors read and one written.
std::vector<plan::SizeRate> measure_memory(const Measuring& measuring) {
  std::vector<plan::SizeRate> points;
  for (const SizePoint& point : kSizes) {
    if (!measuring.wanted(point.quick) || (point.bytes > measuring.memory() && !points.empty())) continue;
    const std::int64_t elements = point.bytes / (3 * Bytes{sizeof(float)});
    const at::Tensor a = at::ones({elements}), b = at::ones({elements});
    at::Tensor c = at::empty({elements});
    const Seconds seconds = measuring.seconds_of([&] { at::add_out(c, a, b); });
    points.push_back({point.bytes, static_cast<double>(point.bytes) / seconds});
  }
  return points;
}

// Parameter, gradient and two states, in as many parts as there are threads.
BytesPerSecond measure_update(const Measuring& measuring) {
  const std::int64_t elements = measuring.large() / 16;
  const auto rule = optim::make_rule("adamw", {});
  const AlignedFloats parameter(elements), gradient(elements), first(elements), second(elements);
  const optim::UpdateArgs args{.lr = 1e-5, .weight_decay = 0.01};
  const Seconds seconds = measuring.seconds_of([&] {
    model::parallel_ranges(elements, elements / at::get_num_threads() + 1, [&](std::int64_t begin, std::int64_t end) {
      const auto count = static_cast<std::size_t>(end - begin);
      const optim::StateView states[] = {{.elements = first.span().data() + begin},
                                         {.elements = second.span().data() + begin}};
      rule->update({.parameter = parameter.span().subspan(begin, count),
                    .gradient = gradient.span().subspan(begin, count),
                    .states = states},
                   args);
    });
  });
  return static_cast<double>(elements) * sizeof(float) * (3 + 2 * 2) / seconds;
}

BytesPerSecond measure_norm(const Measuring& measuring) {
  constexpr std::int64_t kPiece = 1 << 18;
  const std::int64_t pieces = measuring.large() / (kPiece * Bytes{sizeof(float)});
  const at::Tensor gradient = at::rand({pieces * kPiece});
  const float* values = gradient.const_data_ptr<float>();
  const Seconds seconds = measuring.seconds_of([&] {
    model::parallel_ranges(pieces, 1, [&](std::int64_t begin, std::int64_t end) {
      optim::SquareSum sum;
      for (std::int64_t p = begin; p < end; ++p) sum.add({values + p * kPiece, kPiece});
    });
  });
  return static_cast<double>(gradient.numel()) * sizeof(float) / seconds;
}

// A tiny operator is all launch.
Seconds measure_launch(const Measuring& measuring) {
  const at::Tensor a = at::ones({16});
  constexpr int kCalls = 500;
  return measuring.seconds_of([&] {
    for (int i = 0; i < kCalls; ++i) (void)at::add(a, a);
  }) / kCalls;
}

recipe::ComputeMeasurement measure_once(const Measuring& measuring) {
  recipe::ComputeMeasurement measured;
  measured.compute.products = measure_products(measuring, at::kFloat);
  measured.compute.narrow_products = measure_products(measuring, at::kBFloat16);
  measure_attention(measuring, measured.compute);
  measured.compute.memory_by_size = measure_memory(measuring);
  measured.compute.launch = measure_launch(measuring);
  measured.update_memory = measure_update(measuring);
  measured.norm_memory = measure_norm(measuring);
  return measured;
}

// Of two measurements the faster: what slowed one of them was a neighbour.
void keep_faster(recipe::ComputeMeasurement& kept, const recipe::ComputeMeasurement& other) {
  const auto faster = [](auto& points, const auto& others) {
    for (std::size_t i = 0; i < points.size(); ++i) points[i].rate = std::max(points[i].rate, others[i].rate);
  };
  faster(kept.compute.products, other.compute.products);
  faster(kept.compute.narrow_products, other.compute.narrow_products);
  faster(kept.compute.attention_forward, other.compute.attention_forward);
  faster(kept.compute.attention_backward, other.compute.attention_backward);
  faster(kept.compute.memory_by_size, other.compute.memory_by_size);
  kept.compute.launch = std::min(kept.compute.launch, other.compute.launch);
  kept.update_memory = std::max(kept.update_memory, other.update_memory);
  kept.norm_memory = std::max(kept.norm_memory, other.norm_memory);
}

}  // namespace

Seconds median_seconds(const std::function<void()>& run, Seconds enough) {
  run();
  constexpr std::size_t kFewest = 3, kMost = 101;
  std::vector<Seconds> seconds;
  Seconds total = 0;
  while (seconds.size() < kFewest || (total < enough && seconds.size() < kMost)) {
    const auto start = std::chrono::steady_clock::now();
    run();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    total += seconds.back();
  }
  std::ranges::nth_element(seconds, seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2));
  return std::max(seconds[seconds.size() / 2], 1e-9);
}

recipe::ComputeMeasurement measure_compute(Effort effort, Bytes memory) {
  const at::NoGradGuard no_grad;
  model::install_cpu_allocator();
  const Measuring measuring(effort, memory);
  recipe::ComputeMeasurement measured = measure_once(measuring);
  if (effort == Effort::Thorough) {
    log_info("measuring a second time");
    keep_faster(measured, measure_once(measuring));
    log_info("measuring blocks of a model");
  }
  plan::ComputeRate& rate = measured.compute;
  rate.matmul = plan::rate_at(rate.products, {1024, 1024, 1024});
  rate.narrow_matmul = plan::rate_at(rate.narrow_products, {1024, 1024, 1024});
  rate.attention = plan::rate_at(rate.attention_backward, {512, 16, 64});
  fit_memory_rates(rate, effort, memory);
  rate.memory = rate.memory_by_size.back().rate;
  return measured;
}

void run_product() {
  static const at::Tensor a = at::rand({512, 512}), b = at::rand({512, 512});
  static at::Tensor c = at::empty({512, 512});
  at::mm_out(c, a, b);
}

}  // namespace sluice::train
