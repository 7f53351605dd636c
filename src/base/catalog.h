// A kind of thing as a table of rows {name, what it is, how to make it}: one row per thing, read top to bottom, printed
// by `sluice list`. Explicit rows instead of self-registering globals: the linker cannot drop them.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/nearest.h"

namespace sluice {

template <typename Make>
struct CatalogRow {
  std::string_view name;
  std::string_view summary;  ///< one line for `sluice list`
  Make make;
};

/// The row called `name`. Throws ConfigError with all known names and the nearest one.
template <typename Make>
const CatalogRow<Make>& find_row(std::span<const CatalogRow<Make>> rows, std::string_view kind, std::string_view name) {
  std::vector<std::string> names;
  std::string all;
  for (const auto& row : rows) {
    if (row.name == name) return row;
    names.emplace_back(row.name);
    all += (all.empty() ? "" : ", ") + std::string(row.name);
  }
  throw ConfigError("catalog", "unknown " + std::string(kind) + " '" + std::string(name) + "'", "known are " + all,
                    "did you mean '" + nearest_name(name, names) + "'?");
}

}  // namespace sluice
