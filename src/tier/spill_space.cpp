#include "tier/spill_space.h"

#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "base/error.h"
#include "tier/limits.h"
#include "tier/store.h"

namespace sluice::tier {

SpillSpace::SpillSpace(std::span<const std::filesystem::path> folders, int percent) {
  if (folders.empty())
    throw ConfigError("tier.disk", "no spill folder", "the disk tier needs at least one", "name one with --spill-dir");
  std::map<dev_t, int> num_on_device;
  std::vector<dev_t> devices;
  for (auto it = folders.begin(); it != folders.end(); ++it) {
    files_.emplace_back(*it);
    const auto same = [&](const std::filesystem::path& earlier) { return std::filesystem::equivalent(earlier, *it); };
    if (std::find_if(folders.begin(), it, same) != it)
      throw ConfigError("tier.disk", "spill folder named twice", it->string(), "name each folder once");
    struct stat status {};
    if (::fstat(files_.back().fd(), &status) != 0) throw_errno("tier.disk", "stat", it->string(), errno);
    devices.push_back(status.st_dev);
    ++num_on_device[status.st_dev];
  }
  for (std::size_t i = 0; i < files_.size(); ++i)
    room_.push_back(free_disk_space(files_[i].folder()) / num_on_device[devices[i]] / 100 * percent);
}

Bytes SpillSpace::room() const { return std::accumulate(room_.begin(), room_.end(), Bytes{0}); }

bool SpillSpace::place_stripe(Bytes length, std::vector<Bytes>& ends, StripePlace& place) {
  for (std::size_t tried = 0; tried < files_.size(); ++tried) {
    const std::size_t file = next_file_;
    next_file_ = (next_file_ + 1) % files_.size();
    if (ends[file] + length > room_[file]) continue;
    place = {static_cast<std::int32_t>(file), ends[file]};
    ends[file] += length;
    return true;
  }
  return false;
}

bool SpillSpace::grow_files(const std::vector<Bytes>& ends) {
  std::vector<Bytes> before;
  for (const SpillFile& file : files_) before.push_back(file.size());
  const auto take_back = [&] {
    for (std::size_t i = 0; i < files_.size(); ++i) {
      if (files_[i].size() != before[i]) files_[i].shrink(before[i]);
    }
  };
  for (std::size_t i = 0; i < files_.size(); ++i) {
    bool grown = false;
    try {
      grown = files_[i].grow(ends[i]);
    } catch (...) {
      take_back();
      throw;
    }
    if (grown) continue;
    room_[i] = before[i];  // somebody else has filled this disk: try the others
    take_back();
    return false;
  }
  return true;
}

std::optional<std::vector<StripePlace>> SpillSpace::place(Bytes bytes) {
  for (;;) {
    std::vector<Bytes> ends;
    for (const SpillFile& file : files_) ends.push_back(file.size());
    std::vector<StripePlace> places;
    for (Bytes at = 0; at < bytes; at += kStripeBytes) {
      places.emplace_back();
      if (!place_stripe(std::min(kStripeBytes, bytes - at), ends, places.back())) return std::nullopt;
    }
    if (grow_files(ends)) return places;
  }
}

std::string SpillSpace::describe_free() const {
  std::string text;
  for (const SpillFile& file : files_)
    text += (text.empty() ? "" : ", ") + format_bytes(free_disk_space(file.folder())) + " in " + file.folder().string();
  return text;
}

}  // namespace sluice::tier
