#include "tier/proc_files.h"

#include <charconv>
#include <fstream>
#include <sstream>

namespace sluice::tier {
namespace {

constexpr int kMaxCpus = 1 << 16;

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::vector<std::filesystem::path> folder_and_ancestors(const std::filesystem::path& mount,
                                                        std::string_view path_in_mount) {
  std::vector<std::filesystem::path> folders;
  std::error_code ignored;
  auto relative = std::filesystem::path(path_in_mount).relative_path().lexically_normal();
  while (!relative.empty() && relative != "." && relative.begin()->string() != "..") {
    if (std::filesystem::is_directory(mount / relative, ignored)) folders.push_back(mount / relative);
    relative = relative.parent_path();
  }
  if (std::filesystem::is_directory(mount, ignored)) folders.push_back(mount);
  return folders;
}

bool holds(std::string_view controllers, std::string_view wanted) {
  for (const auto name : split(controllers, ',')) {
    if (name == wanted) return true;
  }
  return false;
}

}  // namespace

std::optional<std::string> read_small_file(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::optional<Bytes> leading_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::invalid_argument) return std::nullopt;
  constexpr auto kLargest = static_cast<std::uint64_t>(INT64_MAX);
  return error == std::errc::result_out_of_range || value > kLargest ? INT64_MAX : static_cast<Bytes>(value);
}

std::optional<std::string_view> value_of(std::string_view text, std::string_view key) {
  for (auto line : split(text, '\n')) {
    if (!line.starts_with(key)) continue;
    line.remove_prefix(key.size());
    const auto begin = line.find_first_not_of(" \t");
    return begin == std::string_view::npos ? std::string_view() : line.substr(begin);
  }
  return std::nullopt;
}

std::set<int> parse_cpu_list(std::string_view text) {
  std::set<int> cpus;
  for (const auto part : split(text.substr(0, text.find('\n')), ',')) {
    const auto dash = part.find('-');
    const auto first = leading_number(part);
    const auto last = dash == std::string_view::npos ? first : leading_number(part.substr(dash + 1));
    if (!first || !last || *last >= kMaxCpus) continue;
    for (auto cpu = *first; cpu <= *last; ++cpu) cpus.insert(static_cast<int>(cpu));
  }
  return cpus;
}

std::vector<CgroupFolders> find_cgroups(const std::filesystem::path& proc, const std::filesystem::path& cgroup_root,
                                        std::string_view controller) {
  std::vector<CgroupFolders> found;
  std::error_code ignored;
  const bool v2_is_root = std::filesystem::exists(cgroup_root / "cgroup.controllers", ignored);
  const auto membership = read_small_file(proc / "self/cgroup").value_or("");
  for (const auto line : split(membership, '\n')) {
    const auto first = line.find(':');
    const auto second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const auto controllers = line.substr(first + 1, second - first - 1);
    const auto path = line.substr(second + 1);
    if (controllers.empty()) {
      const auto mount = v2_is_root ? cgroup_root : cgroup_root / "unified";
      found.push_back({.v2 = true, .folders = folder_and_ancestors(mount, path)});
    } else if (holds(controllers, controller)) {
      auto mount = cgroup_root / controllers;  // "cpu,cpuacct" is one mount, usually with a link "cpu" to it
      if (!std::filesystem::is_directory(mount, ignored)) mount = cgroup_root / controller;
      found.push_back({.v2 = false, .folders = folder_and_ancestors(mount, path)});
    }
  }
  return found;
}

}  // namespace sluice::tier
