// --device: where block math runs, and what an emulated device adds to this machine.
#pragma once
#include "plan/machine.h"
#include "recipe/settings.h"

namespace sluice::recipe {

struct DeviceChoice {
  bool emulated = false;
  BytesPerSecond link = 0;  ///< emulated: of copies, each direction
};

/// Throws ConfigError for a device that is unknown or not available, and for an emulated one without --device-memory.
[[nodiscard]] DeviceChoice device_choice(const Settings& settings);

/// RAM of an emulated device, on top of --host-memory; else 0.
[[nodiscard]] Bytes emulated_bytes(const Settings& settings);

/// With an emulated device: it stands before the host, computes at the host's rates, and updates run in host memory.
void add_emulated_device(plan::Machine& machine, const Settings& settings);

}  // namespace sluice::recipe
