// The stores and the kinds of device: one row each.
#pragma once
#include <memory>
#include <span>

#include "base/catalog.h"
#include "tier/device.h"
#include "tier/disk_store.h"
#include "tier/null_store.h"

namespace sluice::tier {

/// A store that lives in memory takes only the capacity from the options.
using MakeStore = std::unique_ptr<Store> (*)(const DiskOptions& options);

std::span<const CatalogRow<MakeStore>> store_catalog();

using MakeDevice = std::unique_ptr<Device> (*)(const DeviceOptions& options);

/// Places other than the host where block math may run.
std::span<const CatalogRow<MakeDevice>> device_catalog();

}  // namespace sluice::tier
