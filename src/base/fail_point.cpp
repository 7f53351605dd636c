#include "base/fail_point.h"

#include <csignal>

#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"

namespace sluice {
namespace {

constexpr int kKill = -9;
constexpr int kHang = -10;

struct FailPoint {
  std::string name;
  long at_call = 0;  // 0: every call
  int error = 0;
  long calls = 0;
};

struct Table {
  std::mutex mutex;
  std::vector<FailPoint> points;
  std::atomic<bool> any{false};
  std::atomic<int> version{0};  // of `points`
};

int error_code(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, int>, 11> kCodes = {{{"EIO", EIO},
                                                                               {"ENOSPC", ENOSPC},
                                                                               {"EDQUOT", EDQUOT},
                                                                               {"EINTR", EINTR},
                                                                               {"EAGAIN", EAGAIN},
                                                                               {"EPERM", EPERM},
                                                                               {"ENOSYS", ENOSYS},
                                                                               {"ENOMEM", ENOMEM},
                                                                               {"SHORT", -1},
                                                                               {"KILL", kKill},
                                                                               {"HANG", kHang}}};
  for (const auto& [text, code] : kCodes) {
    if (text == name) return code;
  }
  throw ConfigError("fail_point", "SLUICE_FAIL cannot be read", "unknown error '" + std::string(name) + "'");
}

std::vector<FailPoint> parse(std::string_view text) {
  std::vector<FailPoint> points;
  while (!text.empty()) {
    const auto comma = text.find(',');
    const auto entry = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    const auto equals = entry.find('=');
    if (equals == std::string_view::npos)
      throw ConfigError("fail_point", "SLUICE_FAIL cannot be read",
                        "expected NAME[@K]=ERROR, got '" + std::string(entry) + "'");
    FailPoint point;
    auto name = entry.substr(0, equals);
    if (const auto at = name.find('@'); at != std::string_view::npos) {
      const auto number = name.substr(at + 1);
      std::from_chars(number.data(), number.data() + number.size(), point.at_call);
      name = name.substr(0, at);
    }
    point.name = name;
    point.error = error_code(entry.substr(equals + 1));
    points.push_back(point);
  }
  return points;
}

Table& table() {
  static Table instance;
  static const bool loaded = [] {
    if (const char* text = std::getenv("SLUICE_FAIL")) {
      instance.points = parse(text);
      instance.any = !instance.points.empty();
    }
    return true;
  }();
  (void)loaded;
  return instance;
}

int error_at(Table& all, std::string_view name) {
  const std::lock_guard lock(all.mutex);
  for (FailPoint& point : all.points) {
    if (point.name != name) continue;
    ++point.calls;
    if (point.at_call == 0 || point.calls == point.at_call) return point.error;
  }
  return 0;
}

}  // namespace

int fail_point(std::string_view name) {
  Table& all = table();
  if (!all.any.load(std::memory_order_relaxed)) return 0;
  const int version = all.version;
  const int error = error_at(all, name);
  if (error == kKill) std::raise(SIGKILL);
  if (error != kHang) return error;
  while (all.version == version) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return 0;
}

void set_fail_points(std::string_view specification) {
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  all.points = parse(specification);
  all.any = !all.points.empty();
  ++all.version;
}

}  // namespace sluice
