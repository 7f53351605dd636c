#include "data/dataset.h"

#include "base/error.h"
#include "data/catalog.h"

namespace sluice::data {

std::unique_ptr<Dataset> open_dataset(const DatasetOptions& options) {
  std::error_code status;
  if (!std::filesystem::exists(options.path, status))
    throw IoError("data", "no such data: " + options.path.string(), status ? status.message() : "",
                  "check the path of --data");
  if (options.format != "auto") return find_row(dataset_rows(), "data format", options.format).make.open(options);
  std::string known;
  for (const auto& row : dataset_rows()) {
    if (row.make.recognises(options.path)) return row.make.open(options);
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  throw FormatError("data", "the format of " + options.path.string() + " is not recognised", "known are " + known,
                    "convert it, or name one with --data-format");
}

}  // namespace sluice::data
