// doctor, the engine's half: rates of the kernels that the planner prices, each the median of a few runs.
#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "model/attention.h"
#include "model/parallel.h"
#include "optim/rule.h"
#include "recipe/machine_file.h"
#include "train/aligned_floats.h"
#include "train/budget.h"
#include "train/verbs.h"

#include <ATen/Parallel.h>

namespace sluice::train {
namespace {

constexpr Seconds kLongest = 2.0;  // of one measurement; a slow machine gets fewer runs
constexpr int kMostRuns = 7;

// Median seconds of one run after a first that makes buffers and fills caches.
Seconds median_seconds(const std::function<void()>& run) {
  run();
  std::vector<Seconds> seconds;
  Seconds total = 0;
  while (static_cast<int>(seconds.size()) < kMostRuns && (seconds.size() < 3 || total < kLongest)) {
    const auto start = std::chrono::steady_clock::now();
    run();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    total += seconds.back();
  }
  std::ranges::sort(seconds);
  return std::max(seconds[seconds.size() / 2], 1e-9);
}

Flops measure_matmul() {
  constexpr std::int64_t kSize = 2048;
  const at::Tensor a = at::rand({kSize, kSize});
  const at::Tensor b = at::rand({kSize, kSize});
  at::Tensor c = at::empty({kSize, kSize});
  return 2.0 * kSize * kSize * kSize / median_seconds([&] { at::mm_out(c, a, b); });
}

// Counted as the planner does: 2 products forward and 5 backward, of which causality leaves half.
Flops measure_attention() {
  const at::Tensor q = at::rand({1, 512, 16, 64});
  const at::Tensor k = at::rand({1, 512, 16, 64});
  const at::Tensor v = at::rand({1, 512, 16, 64});
  const at::Tensor dout = at::rand({1, 512, 16, 64});
  const Seconds seconds = median_seconds([&] {
    const model::AttentionResult forward = model::causal_attention(q, k, v);
    (void)model::causal_attention_backward(dout, q, k, v, forward);
  });
  return 7.0 * static_cast<double>(q.numel()) * static_cast<double>(q.size(1)) / seconds;
}

// Two tensors read and one written, larger than the caches.
BytesPerSecond measure_elementwise() {
  constexpr std::int64_t kElements = 16 << 20;
  const at::Tensor a = at::ones({kElements});
  const at::Tensor b = at::ones({kElements});
  at::Tensor c = at::empty({kElements});
  return 3.0 * kElements * sizeof(float) / median_seconds([&] { at::add_out(c, a, b); });
}

// Parameter, gradient and two states of 64 MiB each, more than caches hold, in as many parts as there are threads.
BytesPerSecond measure_update() {
  constexpr std::int64_t kElements = 16 << 20;
  const auto rule = optim::make_rule("adamw", {});
  const AlignedFloats parameter(kElements), gradient(kElements), first(kElements), second(kElements);
  const optim::UpdateArgs args{.lr = 1e-5, .weight_decay = 0.01};
  const Seconds seconds = median_seconds([&] {
    model::parallel_ranges(kElements, kElements / at::get_num_threads() + 1, [&](std::int64_t begin, std::int64_t end) {
      const auto count = static_cast<std::size_t>(end - begin);
      float* const states[] = {first.span().data() + begin, second.span().data() + begin};
      rule->update(parameter.span().subspan(begin, count), gradient.span().subspan(begin, count), states, args);
    });
  });
  return static_cast<double>(kElements) * sizeof(float) * (3 + 2 * 2) / seconds;
}

// A tiny operator is all launch.
Seconds measure_launch() {
  const at::Tensor a = at::ones({16});
  constexpr int kCalls = 2000;
  return median_seconds([&] {
           for (int i = 0; i < kCalls; ++i) (void)at::add(a, a);
         }) /
         kCalls;
}

}  // namespace

int run_doctor_compute(const recipe::Settings& settings) {
  prepare_process(settings);
  recipe::ComputeMeasurement measured;
  measured.process_overhead = measure_budget(settings).overhead;  // before the measurements' own tensors
  measured.compute = {.matmul = measure_matmul(),
                      .attention = measure_attention(),
                      .memory = measure_elementwise(),
                      .launch = measure_launch()};
  measured.update_memory = measure_update();
  recipe::write_compute_measurement(settings.json, measured);
  return 0;
}

}  // namespace sluice::train
