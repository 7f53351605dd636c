#include "tier/catalog.h"

#include <array>

namespace sluice::tier {

std::span<const CatalogRow<MakeStore>> store_catalog() {
  static constexpr std::array<CatalogRow<MakeStore>, 2> kRows = {{
      {"disk", "files in one or more spill folders, past the page cache, checksummed", make_disk_store},
      {"null", "memory of this process, for tests",
       [](const DiskOptions& options) { return make_null_store(options.capacity); }},
  }};
  return kRows;
}

}  // namespace sluice::tier
