// What the store tests share: aligned buffers, folders that clean up, and every row of the catalog times every engine.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "base/fail_point.h"
#include "base/random.h"
#include "tier/arena.h"
#include "tier/catalog.h"

namespace sluice::tier {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sluice-tier-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Aligned memory with reproducible bytes.
class TestBuffer {
 public:
  explicit TestBuffer(Bytes size) : arena_(size) {}
  TestBuffer(Bytes size, std::uint64_t seed) : arena_(size) { fill(seed); }
  void fill(std::uint64_t seed) {
    for (Bytes at = 0; at < arena_.capacity(); at += 8) {
      const std::uint64_t word = mix(seed, static_cast<std::uint64_t>(at));
      std::memcpy(arena_.data() + at, &word, sizeof word);
    }
  }
  [[nodiscard]] std::span<std::byte> all() const {
    return {arena_.data(), static_cast<std::size_t>(arena_.capacity())};
  }
  [[nodiscard]] std::span<std::byte> part(Bytes offset, Bytes length) const {
    return all().subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(length));
  }

 private:
  Arena arena_;
};

inline bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

struct StoreCase {
  std::string name;
  std::string row;
  int num_folders = 1;
  DiskOptions options = {};
  std::string fail_points_at_start = {};  ///< to make this machine look like another one
};

/// Every row of the catalog; the disk row in each of its forms.
inline std::vector<StoreCase> store_cases() {
  using Engine = DiskOptions::Engine;
  std::vector<StoreCase> cases;
  for (const auto& row : store_catalog()) {
    if (row.name != "disk") {
      cases.push_back({.name = std::string(row.name), .row = std::string(row.name)});
      continue;
    }
    const auto disk = [&](std::string name, DiskOptions options) -> StoreCase& {
      cases.push_back({.name = std::move(name), .row = "disk", .options = std::move(options)});
      return cases.back();
    };
    disk("disk_uring", {.engine = Engine::IoUring, .request_bytes = 256 * KiB});
    disk("disk_threads", {.engine = Engine::Threads, .request_bytes = 256 * KiB});
    disk("disk_uring_serial", {.engine = Engine::IoUring, .queue_depth = 1});
    disk("disk_threads_serial", {.engine = Engine::Threads, .queue_depth = 1});
    disk("disk_three_folders_uring", {.engine = Engine::IoUring, .request_bytes = 256 * KiB}).num_folders = 3;
    disk("disk_three_folders_threads", {.engine = Engine::Threads, .request_bytes = 256 * KiB}).num_folders = 3;
    disk("disk_buffered_uring", {.engine = Engine::IoUring}).fail_points_at_start = "disk.direct=ENOSYS";
    disk("disk_buffered_threads", {.engine = Engine::Threads}).fail_points_at_start = "disk.direct=ENOSYS";
  }
  return cases;
}

/// A store of one case; fail points are off before and after each test.
class StoreTest : public testing::TestWithParam<StoreCase> {
 protected:
  void SetUp() override { set_fail_points(""); }
  void TearDown() override { set_fail_points(""); }

  std::unique_ptr<Store> make_store(Bytes capacity = 256 * MiB) {
    const StoreCase& wanted = GetParam();
    DiskOptions options = wanted.options;
    options.capacity = capacity;
    for (int i = 0; i < wanted.num_folders; ++i) {
      options.folders.push_back(folder_.path() / std::to_string(i));
      std::filesystem::create_directories(options.folders.back());
    }
    set_fail_points(wanted.fail_points_at_start);
    auto store = find_row(store_catalog(), "store", wanted.row).make(options);
    set_fail_points("");
    return store;
  }

  TemporaryFolder folder_;
};

inline void PrintTo(const StoreCase& shown, std::ostream* out) { *out << shown.name; }

inline std::string case_name(const testing::TestParamInfo<StoreCase>& info) { return info.param.name; }

/// The message of the error that `action` throws; a failed test when it throws nothing or another type.
template <typename Expected>
std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Expected& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another error: " << error.what();
    return {};
  }
  ADD_FAILURE() << "no error";
  return {};
}

}  // namespace sluice::tier
