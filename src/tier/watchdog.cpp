#include "tier/watchdog.h"

#include <algorithm>

#include "base/log.h"

namespace sluice::tier {
namespace {

std::string format_wait(std::chrono::steady_clock::duration wait) {
  return format_seconds(std::chrono::duration<double>(wait).count());
}

}  // namespace

Watchdog::Watchdog(Seconds patience)
    : patience_(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(patience))),
      thread_([this] { run(); }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  thread_.join();
}

Watchdog::Watch Watchdog::watch(std::function<std::string()> describe) {
  const std::lock_guard lock(mutex_);
  entries_.push_back({.describe = std::move(describe), .start = Clock::now(), .warn_after = patience_});
  return {*this, std::prev(entries_.end())};
}

void Watchdog::end(Entries::iterator entry) {
  const std::lock_guard lock(mutex_);
  if (entry->warned)
    log_warning(entry->describe() + " has come to an end after " + format_wait(Clock::now() - entry->start));
  entries_.erase(entry);
}

// A fixed beat, so that starting and ending a watch wakes nobody: a warning comes up to a quarter late.
void Watchdog::run() {
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, patience_ / 4, [this] { return stop_; })) {
    const auto now = Clock::now();
    for (Entry& entry : entries_) {
      const auto wait = now - entry.start;
      if (wait < entry.warn_after) continue;
      log_warning(entry.describe() + " has not come to an end for " + format_wait(wait) +
                  ": check the disk (kernel log); interrupt twice to give up");
      entry.warned = true;
      entry.warn_after = 2 * wait;
    }
  }
}

}  // namespace sluice::tier
