#include "train/make_folders.h"

#include "base/error.h"

namespace sluice::train {

void make_folders(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw_errno("folder", "creating", folder.string(), error.value(), "name another folder");
}

}  // namespace sluice::train
