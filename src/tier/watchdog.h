// Says so when work takes far too long. A hung disk neither fails nor answers: without a word the program would seem to
// be at work.
#pragma once
#include <chrono>
#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <thread>

#include "base/units.h"

namespace sluice::tier {

/// One thread that sleeps unless something is late. Thread-safe.
class Watchdog {
 public:
  /// What "takes too long" means: warned of once after `patience`, then each time the wait has doubled.
  explicit Watchdog(Seconds patience);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  class Watch;
  /// Watches until the result dies; if there was a warning, the end is logged too. `describe` gives what is waited for
  /// ("read of ... in /disk"), is called on the watchdog's thread, and must not throw.
  [[nodiscard]] Watch watch(std::function<std::string()> describe);

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    std::function<std::string()> describe;
    Clock::time_point start;
    Clock::duration warn_after;
    bool warned = false;
  };
  using Entries = std::list<Entry>;

  void run();
  void end(Entries::iterator entry);

  const Clock::duration patience_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  Entries entries_;  // a list: entries stay where they are
  std::thread thread_;
};

class Watchdog::Watch {
 public:
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch() { owner_.end(entry_); }

 private:
  friend class Watchdog;
  Watch(Watchdog& owner, Entries::iterator entry) : owner_(owner), entry_(entry) {}
  Watchdog& owner_;
  Entries::iterator entry_;
};

}  // namespace sluice::tier
