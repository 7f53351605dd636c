#include "recipe/device.h"

#include "base/error.h"
#include "recipe/parse_value.h"

namespace sluice::recipe {
namespace {

constexpr double kGB = 1e9;
constexpr BytesPerSecond kDefaultLink = 6 * kGB;  // PCIe 3.0 x8 in practice; a core copies memory faster than that
constexpr Seconds kLatency = 10e-6;
constexpr Bytes kPage = 4096;
constexpr std::string_view kKnown = "auto, cpu, cuda[:N] or emulated[:GB/s]";

}  // namespace

DeviceChoice device_choice(const Settings& settings) {
  const std::string& device = settings.device;
  if (device == "auto" || device == "cpu") return {};
  const auto colon = device.find(':');
  const std::string kind = device.substr(0, colon);
  const std::string rest = colon == std::string::npos ? "" : device.substr(colon + 1);
  if (kind == "cuda") {
    DeviceChoice choice{.kind = DeviceKind::Cuda};
    if (colon != std::string::npos) choice.index = static_cast<int>(parse_integer(rest, "device cuda:N", {0, 1023}));
    return choice;
  }
  if (kind != "emulated") throw_bad_value("device", kKnown, device, "use --device cpu");
  DeviceChoice choice{.kind = DeviceKind::Emulated, .link = kDefaultLink};
  if (colon != std::string::npos) choice.link = parse_real(rest, "device emulated:GB/s", {1e-3, 1e6}) * kGB;
  if (!settings.device_memory)
    throw ConfigError("config", "--device emulated needs --device-memory",
                      "expected the size of its memory, which comes on top of --host-memory, got none",
                      "give --device-memory SIZE, as 300MiB");
  return choice;
}

Bytes emulated_bytes(const Settings& settings) {
  return device_choice(settings).kind == DeviceKind::Emulated ? *settings.device_memory / kPage * kPage : 0;
}

void add_emulated_device(plan::Machine& machine, const Settings& settings) {
  const DeviceChoice choice = device_choice(settings);
  if (choice.kind != DeviceKind::Emulated) return;
  machine.name += " with an emulated device";
  machine.tiers.insert(machine.tiers.begin(), {.kind = plan::TierKind::Device,
                                               .capacity = emulated_bytes(settings),
                                               .down = choice.link,
                                               .up = choice.link,
                                               .latency = kLatency});
  machine.update_tier = 1;
  machine.emulated_device = true;
}

void place_updates(plan::Machine& machine, const Settings& settings) {
  if (!settings.update_on || machine.tiers.front().kind != plan::TierKind::Device) return;
  const bool on_device = settings.update_on == UpdatePlace::Device;
  machine.update_tier = on_device ? 0 : 1;
  if (!on_device || machine.emulated_device) return;
  machine.update_memory = machine.compute.memory;
  machine.norm_memory = 0;
}

// The disk no longer shares cores with the computation, and what computes in RAM is the update alone.
void add_card(plan::Machine& machine, const DeviceFigures& figures) {
  machine.name += " with " + figures.name;
  machine.tiers.insert(machine.tiers.begin(), {.kind = plan::TierKind::Device,
                                               .capacity = figures.capacity / kPage * kPage,
                                               .reserved = plan::kDeviceReserve,
                                               .down = figures.down,
                                               .up = figures.up,
                                               .latency = kLatency});
  machine.compute = figures.compute;
  machine.contention = {};
  machine.update_tier = 1;
}

}  // namespace sluice::recipe
