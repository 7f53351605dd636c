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
  if (device == "cuda" || device.starts_with("cuda:"))
    throw ConfigError("config", "--device " + device + " is not available in this version", {}, "use --device cpu");
  const auto colon = device.find(':');
  if (device.substr(0, colon) != "emulated") throw_bad_value("device", kKnown, device, "use --device cpu");
  DeviceChoice choice{.emulated = true, .link = kDefaultLink};
  if (colon != std::string::npos)
    choice.link = parse_real(device.substr(colon + 1), "device emulated:GB/s", {1e-3, 1e6}) * kGB;
  if (!settings.device_memory)
    throw ConfigError("config", "--device emulated needs --device-memory",
                      "expected the size of its memory, which comes on top of --host-memory, got none",
                      "give --device-memory SIZE, as 300MiB");
  return choice;
}

Bytes emulated_bytes(const Settings& settings) {
  return device_choice(settings).emulated ? *settings.device_memory / kPage * kPage : 0;
}

void add_emulated_device(plan::Machine& machine, const Settings& settings) {
  const DeviceChoice choice = device_choice(settings);
  if (!choice.emulated) return;
  machine.name += " with an emulated device";
  machine.tiers.insert(machine.tiers.begin(), {.kind = plan::TierKind::Device,
                                               .capacity = emulated_bytes(settings),
                                               .down = choice.link,
                                               .up = choice.link,
                                               .latency = kLatency});
  machine.update_tier = 1;
  machine.emulated_device = true;
}

}  // namespace sluice::recipe
