#include "tier/catalog.h"

#include <array>

namespace sluice::tier {

std::span<const CatalogRow<MakeStore>> store_catalog() {
  static constexpr std::array<CatalogRow<MakeStore>, 2> kRows = {{
      {"disk", "files in one or more spill folders, past the page cache, checksummed", make_disk_store},
      {"null", "memory of this process: weights that wait packed, and tests",
       [](const DiskOptions& options) { return make_null_store(options.capacity); }},
  }};
  return kRows;
}

std::span<const CatalogRow<MakeDevice>> device_catalog() {
  static constexpr std::array<CatalogRow<MakeDevice>, 2> kRows = {{
      {"cuda", "an NVIDIA card", make_cuda_device},
      {"emulated", "memory of this process behind throttled copies, for tests", make_emulated_device},
  }};
  return kRows;
}

}  // namespace sluice::tier
