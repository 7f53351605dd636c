#include "train/block_rates.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "format/presets.h"
#include "model/cpu_allocator.h"
#include "model/model.h"
#include "model/tracer.h"
#include "plan/op_time.h"
#include "tier/arena.h"

namespace sluice::train {
namespace {

constexpr int kLayer = 1, kHead = 2;

struct Sample {
  int block;
  model::BatchShape shape;
  bool quick = false;
};

// From what caches hold to what they do not.
constexpr Sample kSamples[] = {{kLayer, {1, 64}},  {kLayer, {1, 256}, true}, {kLayer, {2, 512}},
                               {kLayer, {4, 512}}, {kHead, {1, 64}},         {kHead, {1, 256}, true}};

model::Model sample_model() {
  format::ModelConfig config = format::preset_config("llama-tiny");
  config.hidden_size = 512;
  config.intermediate_size = 1408;
  config.num_layers = 1;
  config.num_heads = 8;
  config.num_kv_heads = 4;
  config.head_dim = 64;
  config.vocab_size = 8192;
  return model::make_model(config);
}

// Products and attention apart from the rest.
struct Price {
  Seconds others = 0, memory = 0;
  Bytes typical = 0;  // size of the element-wise operators that matter
};

Price price(const std::vector<plan::OpCost>& ops, const plan::ComputeRate& rate) {
  Price sum;
  double logarithms = 0;
  for (const plan::OpCost& op : ops) {
    const Seconds seconds = plan::predict_op(op, rate) - rate.launch;
    sum.others += rate.launch;
    if (op.kind != plan::OpClass::Memory) {
      sum.others += seconds;
      continue;
    }
    sum.memory += seconds;
    logarithms += seconds * std::log(static_cast<double>(std::max<Bytes>(op.bytes, 1)));
  }
  if (sum.memory > 0) sum.typical = static_cast<Bytes>(std::exp(logarithms / sum.memory));
  return sum;
}

// Temporaries come from a workspace that is there already, as in a step.
Seconds measured_seconds(const model::PlayableBackward& backward, Effort effort) {
  tier::Arena workspace(round_up(2 * backward.peak + MiB, 4096));
  model::use_workspace(workspace.data(), workspace.capacity());
  const Seconds enough = effort == Effort::Quick ? 0.1 : 0.4;
  Seconds seconds = 0;
  try {
    seconds = median_seconds(backward.play, enough);
    if (effort == Effort::Thorough) seconds = std::min(seconds, median_seconds(backward.play, enough));
  } catch (...) {
    model::use_workspace(nullptr, 0);
    throw;
  }
  model::use_workspace(nullptr, 0);
  return seconds;
}

// A size and how many times slower than the curve element-wise operators of it are.
std::optional<plan::SizeRate> slowness(const model::Model& model, const Sample& sample, const plan::ComputeRate& rate,
                                       Effort effort, Bytes memory) {
  const model::PlayableBackward backward = model::make_playable_backward(model, sample.block, sample.shape);
  if (backward.peak > memory) return std::nullopt;
  const Price predicted = price(backward.ops, rate);
  if (predicted.memory <= 0) return std::nullopt;
  constexpr double kLeast = 0.25, kMost = 25;  // beyond, something else was measured
  const double factor = (measured_seconds(backward, effort) - predicted.others) / predicted.memory;
  return plan::SizeRate{predicted.typical, std::clamp(factor, kLeast, kMost)};
}

}  // namespace

void fit_memory_rates(plan::ComputeRate& rate, Effort effort, Bytes memory) {
  const model::Model model = sample_model();
  std::vector<plan::SizeRate> factors;
  for (const Sample& sample : kSamples) {
    if (effort == Effort::Quick && !sample.quick) continue;
    if (const auto factor = slowness(model, sample, rate, effort, memory)) factors.push_back(*factor);
  }
  if (factors.empty()) return;
  std::ranges::sort(factors, {}, &plan::SizeRate::bytes);
  for (plan::SizeRate& point : rate.memory_by_size) point.rate /= plan::rate_at(factors, point.bytes);
}

}  // namespace sluice::train
