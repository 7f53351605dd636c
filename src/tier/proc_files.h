// Small readers for the text files of /proc and /sys: absent or unreadable is an ordinary answer.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"

namespace sluice::tier {

/// The whole file; nothing when it cannot be read.
std::optional<std::string> read_small_file(const std::filesystem::path& path);

/// The first number in `text`; nothing when it starts otherwise ("max", "unlimited", "-1").
std::optional<Bytes> leading_number(std::string_view text);

/// The text after `key` (at the start of a line), without leading blanks; nothing when there is no such line.
std::optional<std::string_view> value_of(std::string_view text, std::string_view key);

/// "0-3,8" as a set of cpu numbers; what cannot be read is left out.
std::set<int> parse_cpu_list(std::string_view text);

/// Folders of one cgroup controller that bind this process: its own and every ancestor, up to the mount.
struct CgroupFolders {
  bool v2 = false;
  std::vector<std::filesystem::path> folders;
};

/// v1 and v2 hierarchies that may hold `controller` ("memory", "cpu"). A path of another namespace that is not mounted
/// here leaves only what is.
std::vector<CgroupFolders> find_cgroups(const std::filesystem::path& proc, const std::filesystem::path& cgroup_root,
                                        std::string_view controller);

}  // namespace sluice::tier
