// Folders that a user names need not exist yet.
#pragma once
#include <filesystem>

namespace sluice::train {

/// Creates `folder` and its parents unless they are there. Throws IoError naming the path.
void make_folders(const std::filesystem::path& folder);

}  // namespace sluice::train
