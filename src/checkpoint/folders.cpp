#include "checkpoint/folders.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace sluice::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "checkpoint-";

bool is_leftover(std::string_view name) {
  if (name.starts_with(".model.tmp-")) return true;
  for (const std::string_view mark : {".tmp-", ".trash-"}) {
    if (const auto at = name.find(mark); at != std::string_view::npos && step_of(name.substr(0, at))) return true;
  }
  return false;
}

void delete_folder(const fs::path& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  if (error) log_warning("[checkpoint] cannot delete " + folder.string() + ": " + error.message());
}

}  // namespace

std::optional<std::int64_t> step_of(std::string_view folder_name) {
  if (!folder_name.starts_with(kPrefix)) return std::nullopt;
  const auto digits = folder_name.substr(kPrefix.size());
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  if (error != std::errc() || std::to_string(step) != digits || step < 0) return std::nullopt;
  return step;
}

fs::path temporary_name(const fs::path& path) { return path.string() + ".tmp-" + std::to_string(::getpid()); }

std::vector<fs::path> list_checkpoints(const fs::path& output) {
  std::vector<std::pair<std::int64_t, fs::path>> found;
  std::error_code error;
  fs::directory_iterator entry(output, error);
  if (error == std::errc::no_such_file_or_directory) return {};
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    std::error_code ignored;
    const auto step = step_of(entry->path().filename().string());
    if (step && entry->is_directory(ignored)) found.emplace_back(*step, entry->path());
  }
  if (error) throw_errno("checkpoint", "list", output.string(), error.value());
  std::sort(found.rbegin(), found.rend());
  std::vector<fs::path> folders;
  for (auto& [step, folder] : found) folders.push_back(std::move(folder));
  return folders;
}

void create_empty_folder(const fs::path& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  if (!error) fs::create_directories(folder, error);
  if (error) throw_errno("checkpoint", "create", folder.string(), error.value(), "check that it can be written");
}

void rename_path(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw_errno("checkpoint", "rename", to.string(), errno);
}

void publish_folder(const fs::path& from, const fs::path& to) {
  std::error_code error;
  if (!fs::exists(to, error)) {
    rename_path(from, to);
    sync_folder(to.parent_path());
    return;
  }
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) != 0) {
    if (errno != EINVAL && errno != ENOSYS) throw_errno("checkpoint", "rename", to.string(), errno);
    discard_folder(to);  // no exchange on this file system
    rename_path(from, to);
    sync_folder(to.parent_path());
    return;
  }
  sync_folder(to.parent_path());
  delete_folder(from);
}

void discard_folder(const fs::path& folder) {
  const fs::path trash = folder.string() + ".trash-" + std::to_string(::getpid());
  delete_folder(trash);
  if (::rename(folder.c_str(), trash.c_str()) != 0) {
    log_warning("[checkpoint] cannot rename " + folder.string() + " for deletion");
    return;
  }
  delete_folder(trash);
}

void sweep_leftovers(const fs::path& output) {
  std::error_code error;
  std::vector<fs::path> leftovers;
  for (fs::directory_iterator entry(output, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (is_leftover(entry->path().filename().string())) leftovers.push_back(entry->path());
  }
  for (const fs::path& leftover : leftovers) delete_folder(leftover);
}

}  // namespace sluice::checkpoint
