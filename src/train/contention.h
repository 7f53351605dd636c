// On few cores computing and the disk take from each other: by how much.
#pragma once
#include <filesystem>

#include "plan/machine.h"
#include "tier/measure.h"

namespace sluice::train {

/// Runs products beside `bytes` written to, read from and both ways between a store in `folder`, and compares with the
/// products alone and with `quiet`, the rates of the same disk without them.
[[nodiscard]] plan::Contention measure_contention(const std::filesystem::path& folder, Bytes bytes,
                                                  const tier::DiskRates& quiet);

}  // namespace sluice::train
