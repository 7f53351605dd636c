// The stores: one row each.
#pragma once
#include <memory>
#include <span>

#include "base/catalog.h"
#include "tier/disk_store.h"
#include "tier/null_store.h"

namespace sluice::tier {

/// A store that lives in memory takes only the capacity from the options.
using MakeStore = std::unique_ptr<Store> (*)(const DiskOptions& options);

std::span<const CatalogRow<MakeStore>> store_catalog();

}  // namespace sluice::tier
