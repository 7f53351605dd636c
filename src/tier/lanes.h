// Lanes: queues of a plan that run beside the computation, one thread each, kept in order by the plan's dependencies.
// What a lane does with a move is its mover's business.
#pragma once
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "plan/plan.h"
#include "plan/timeline.h"
#include "tier/mover.h"

namespace sluice::tier {

/// One period of one plan, to be played by every lane. All referenced things outlive the period on every lane.
struct Period {
  const plan::Plan* plan = nullptr;
  std::int64_t number = 0;   ///< since the lanes last started afresh; the first has no period before it
  bool apply_update = true;  ///< false: actions that skip without an update are skipped
  bool compresses = true;    ///< false: what ranks may send in one bit is sent whole
  std::chrono::steady_clock::time_point start;
  std::vector<plan::Span>* spans = nullptr;  ///< one per action; each lane fills in its own

  [[nodiscard]] bool skips(const plan::Action& action) const {
    return action.skip == plan::SkipWhen::NoUpdate && !apply_update;
  }
};

/// How far each lane has come, and whether one has failed. Thread-safe.
class Progress {
 public:
  Progress() { done_.fill(0); }
  /// Forgets all periods; no lane may be running.
  void restart();
  /// Lane `lane` has finished (or skipped) `action` and all its earlier ones of this period.
  void finish(plan::Lane lane, const Period& period, std::int32_t action);
  /// Lane `lane` has nothing left in this period.
  void finish(plan::Lane lane, const Period& period);
  /// Returns when every dependency of `action` is done. Rethrows the error of a lane that has failed.
  void wait_for_dependencies(const plan::Action& action, const Period& period);
  /// Returns when `lane` has finished the period. Rethrows.
  void wait_for_lane(plan::Lane lane, const Period& period);
  /// The first error is kept; every wait from now on rethrows it.
  void fail(std::exception_ptr error);

 private:
  void reach(plan::Lane lane, std::int64_t mark);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::array<std::int64_t, plan::kNumLanes> done_{};  // period * (actions + 1) + actions of it that are done
  std::exception_ptr error_;
};

/// A thread that plays the moves of one lane through a mover of its own.
class MoveLane {
 public:
  /// Borrows `progress`.
  MoveLane(plan::Lane lane, std::unique_ptr<Mover> mover, Progress& progress);
  ~MoveLane();  ///< finishes what was posted
  MoveLane(const MoveLane&) = delete;
  MoveLane& operator=(const MoveLane&) = delete;
  [[nodiscard]] plan::Lane lane() const { return lane_; }
  /// Returns at once; the period is played after those posted before.
  void post(const Period& period);

 private:
  void run();
  void play(const Period& period);

  const plan::Lane lane_;
  const std::unique_ptr<Mover> mover_;
  Progress& progress_;
  std::mutex mutex_;
  std::condition_variable posted_;
  std::deque<Period> queue_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace sluice::tier
