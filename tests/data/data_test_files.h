// Files of the data tests: the committed ones and temporary folders.
#pragma once
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>

namespace sluice::data {

inline std::filesystem::path test_file(const std::string& name) {
  return std::filesystem::path(SLUICE_TEST_DATA) / "data" / name;
}

/// A new folder that is removed with its contents.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    static std::atomic<int> count = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("sluice-data-" + std::to_string(::getpid()) + "-" + std::to_string(count++));
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace sluice::data
