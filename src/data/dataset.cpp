#include "data/dataset.h"

#include "base/error.h"
#include "data/catalog.h"
#include "data/permutation.h"

namespace sluice::data {

std::int64_t Dataset::row_at(std::uint64_t place, const RowOrder& order) const {
  const auto size = static_cast<std::uint64_t>(num_rows());
  const std::uint64_t index = place % size;
  return static_cast<std::int64_t>(order.shuffle ? Permutation{order.seed, place / size, size}(index) : index);
}

const CatalogRow<DatasetMaker>& find_dataset_row(const std::filesystem::path& path, const std::string& format) {
  std::error_code status;
  if (!std::filesystem::exists(path, status))
    throw IoError("data", "no such data: " + path.string(), status ? status.message() : "", "check the path of --data");
  if (format != "auto") return find_row(dataset_rows(), "data format", format);
  std::string known;
  for (const auto& row : dataset_rows()) {
    if (row.make.recognises(path)) return row;
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  throw FormatError("data", "the format of " + path.string() + " is not recognised", "known are " + known,
                    "convert it, or name one with --data-format");
}

std::unique_ptr<Dataset> open_dataset(const DatasetOptions& options) {
  return find_dataset_row(options.path, options.format).make.open(options);
}

}  // namespace sluice::data
