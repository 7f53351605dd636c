// The device of this run (--device): opened once, before the first trace, and kept to the end of the process.
#pragma once
#include "plan/machine.h"
#include "recipe/settings.h"
#include "tier/device.h"

namespace sluice::train {

/// nullptr for the CPU. Of a card its libraries are loaded, and from now on block math runs there (model/place.h).
/// Throws ConfigError that says what is missing.
[[nodiscard]] tier::Device* run_device(const recipe::Settings& settings);

/// It as the tier in front, if there is one; a card is measured for half a second, once.
void add_run_device(plan::Machine& machine, const recipe::Settings& settings);

/// What a device that torch knows as `device.torch_name()` computes and copies, for the planner. Rates are medians of a
/// few runs; takes `sample` bytes of its memory and of page-locked host memory while it measures.
[[nodiscard]] plan::ComputeRate measure_device_compute(tier::Device& device, Bytes sample);
struct CopyRates {
  BytesPerSecond down = 0, up = 0;
};
[[nodiscard]] CopyRates measure_device_copies(tier::Device& device, Bytes sample);

}  // namespace sluice::train
