// --device: where block math runs, and what an emulated device adds to this machine.
#pragma once
#include <string>

#include "plan/machine.h"
#include "recipe/settings.h"

namespace sluice::recipe {

enum class DeviceKind { Cpu, Emulated, Cuda };

struct DeviceChoice {
  DeviceKind kind = DeviceKind::Cpu;
  BytesPerSecond link = 0;  ///< emulated: of copies, each direction
  int index = 0;            ///< cuda: which card
};

/// Throws ConfigError for a device that is unknown, and for an emulated one without --device-memory. Does not look
/// whether a card is there.
[[nodiscard]] DeviceChoice device_choice(const Settings& settings);

/// RAM of an emulated device, on top of --host-memory; else 0.
[[nodiscard]] Bytes emulated_bytes(const Settings& settings);

/// With an emulated device: it stands before the host, computes at the host's rates, and updates run in host memory.
void add_emulated_device(plan::Machine& machine, const Settings& settings);

/// --update-on, if it is given and there is a device: updates run in that tier; on a card at the rate of its memory.
void place_updates(plan::Machine& machine, const Settings& settings);

/// What was measured of a card.
struct DeviceFigures {
  std::string name;
  Bytes capacity = 0;               ///< of the arena
  BytesPerSecond down = 0, up = 0;  ///< copies from and to page-locked host memory
  plan::ComputeRate compute;
};
/// It stands before the host and computes; updates run in host memory.
void add_card(plan::Machine& machine, const DeviceFigures& figures);

}  // namespace sluice::recipe
