#include "train/run_device.h"

#include <ATen/ATen.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/log.h"
#include "model/fused_attention.h"
#include "model/place.h"
#include "recipe/device.h"
#include "recipe/support.h"
#include "tier/arena.h"
#include "tier/catalog.h"
#include "train/compute_rates.h"

namespace sluice::train {
namespace {

constexpr Bytes kSample = 64 * MiB;
constexpr Seconds kEnough = 0.05;

std::unique_ptr<tier::Device> open(const recipe::DeviceChoice& choice, const recipe::Settings& settings) {
  const bool card = choice.kind == recipe::DeviceKind::Cuda;
  return find_row(tier::device_catalog(), "device", card ? "cuda" : "emulated")
      .make({.index = choice.index, .memory = settings.device_memory.value_or(0), .rate = choice.link});
}

// Sums are fp32 where --compute-dtype says fp32, and the same from run to run.
void make_exact() {
  at::globalContext().setFloat32MatmulPrecision("highest");
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
}

void compute_there(const tier::Device& device, recipe::DType compute) {
  model::ComputePlace place{.device = c10::Device(device.torch_name()),
                            .operators = model::Operators::Torch,
                            .num_processors = device.num_processors()};
  model::compute_at(place);
  if (compute == recipe::DType::Fp32 || place.num_processors == 0) return;
  const std::string wrong = model::try_fused_attention(compute);
  if (!wrong.empty()) return log_warning("attention on " + device.torch_name() + " is not fused: " + wrong);
  place.fused_attention = true;
  model::compute_at(place);
}

Seconds seconds_of(tier::Device& device, const std::function<void()>& work) {
  return median_seconds(
      [&] {
        work();
        device.wait();
      },
      kEnough);
}

recipe::DeviceFigures measure_card(tier::Device& device) {
  const CopyRates copies = measure_device_copies(device, kSample);
  return {.name = device.torch_name(),
          .capacity = device.capacity(),
          .down = copies.down,
          .up = copies.up,
          .compute = measure_device_compute(device, kSample)};
}

}  // namespace

tier::Device* run_device(const recipe::Settings& settings) {
  const recipe::DeviceChoice choice = recipe::device_choice(settings);
  if (choice.kind == recipe::DeviceKind::Cpu) return nullptr;
  // Never closed: torch keeps a card to the end of the process, and what it holds there must not go before.
  static auto& opened = *new std::map<std::string, std::unique_ptr<tier::Device>>;
  std::unique_ptr<tier::Device>& device = opened[settings.device];
  if (device != nullptr) return device.get();
  device = open(choice, settings);
  if (!device->is_addressable()) {
    make_exact();
    compute_there(*device, recipe::compute_format(settings));
  }
  return device.get();
}

plan::ComputeRate measure_device_compute(tier::Device& device, Bytes sample) {
  const auto options = at::TensorOptions(c10::Device(device.torch_name())).dtype(at::kFloat);
  plan::ComputeRate rate;
  const auto product_rate = [&](at::ScalarType type) {
    constexpr std::int64_t kSide = 1024;
    const at::Tensor a = at::ones({kSide, kSide}, options.dtype(type)), b = a.clone();
    at::Tensor c = at::empty({kSide, kSide}, options.dtype(type));
    return 2.0 * kSide * kSide * kSide / seconds_of(device, [&] { at::mm_out(c, a, b); });
  };
  rate.matmul = product_rate(at::kFloat);
  rate.narrow_matmul = product_rate(at::kBFloat16);
  // Composed, half of what it does are passes over scores; fused, it does so much of what products of 16 bits do.
  constexpr double kFusedShare = 0.4;
  rate.attention = model::compute_place().fused_attention ? kFusedShare * rate.narrow_matmul : rate.matmul / 2;
  const std::int64_t elements = sample / (3 * Bytes{sizeof(float)});
  const at::Tensor a = at::ones({elements}, options), b = at::ones({elements}, options);
  at::Tensor c = at::empty({elements}, options);
  rate.memory = static_cast<double>(3 * elements) * sizeof(float) / seconds_of(device, [&] { at::add_out(c, a, b); });
  const at::Tensor one = at::ones({16}, options);
  constexpr int kCalls = 100;
  rate.launch = seconds_of(device,
                           [&] {
                             for (int i = 0; i < kCalls; ++i) (void)at::add(one, one);
                           }) /
                kCalls;
  return rate;
}

CopyRates measure_device_copies(tier::Device& device, Bytes sample) {
  tier::Arena host(sample);
  host.touch(sample);
  const auto lock = device.lock_pages(host.data(), sample);
  const auto there = device.reserve(sample);
  const auto line = device.open_line();
  const auto rate = [&](std::byte* to, const std::byte* from) {
    return static_cast<double>(sample) / median_seconds([&] { line->copy(to, from, sample); }, kEnough);
  };
  return {.down = rate(host.data(), there->data()), .up = rate(there->data(), host.data())};
}

void add_run_device(plan::Machine& machine, const recipe::Settings& settings) {
  recipe::add_emulated_device(machine, settings);
  if (recipe::device_choice(settings).kind != recipe::DeviceKind::Cuda) return;
  static std::optional<recipe::DeviceFigures> figures;  // there is one card in a process
  if (!figures) figures = measure_card(*run_device(settings));
  recipe::add_card(machine, *figures);
}

}  // namespace sluice::train
