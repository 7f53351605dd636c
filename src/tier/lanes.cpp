#include "tier/lanes.h"

namespace sluice::tier {
namespace {

// One more than the actions: a lane that is through with its last action may still be about to say so, and whoever sees
// the period finished may forget it at once.
std::int64_t marks_of(const Period& period) { return static_cast<std::int64_t>(period.plan->actions.size()) + 1; }

std::int64_t mark_of(const Period& period, std::int64_t actions_done) {
  return period.number * marks_of(period) + actions_done;
}

Seconds since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

void Progress::restart() {
  const std::lock_guard lock(mutex_);
  done_.fill(0);
}

void Progress::finish(plan::Lane lane, const Period& period, std::int32_t action) {
  reach(lane, mark_of(period, action + 1));
}

void Progress::finish(plan::Lane lane, const Period& period) { reach(lane, mark_of(period, marks_of(period))); }

void Progress::reach(plan::Lane lane, std::int64_t mark) {
  {
    const std::lock_guard lock(mutex_);
    done_[static_cast<int>(lane)] = mark;
  }
  changed_.notify_all();
}

void Progress::wait_for_dependencies(const plan::Action& action, const Period& period) {
  if (action.dependencies.empty()) return;
  const auto ready = [&] {
    if (error_) return true;
    for (const plan::Dependency& dependency : action.dependencies) {
      const plan::Lane lane = period.plan->actions[dependency.action].lane;
      std::int64_t mark = mark_of(period, dependency.action + 1);
      if (dependency.previous_period) mark -= marks_of(period);
      if (done_[static_cast<int>(lane)] < mark && (!dependency.previous_period || period.number > 0)) return false;
    }
    return true;
  };
  std::unique_lock lock(mutex_);
  changed_.wait(lock, ready);
  if (error_) std::rethrow_exception(error_);
}

void Progress::wait_for_lane(plan::Lane lane, const Period& period) {
  const std::int64_t mark = mark_of(period, marks_of(period));
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return error_ || done_[static_cast<int>(lane)] >= mark; });
  if (error_) std::rethrow_exception(error_);
}

void Progress::fail(std::exception_ptr error) {
  {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
  }
  changed_.notify_all();
}

MoveLane::MoveLane(plan::Lane lane, std::unique_ptr<Mover> mover, Progress& progress)
    : lane_(lane), mover_(std::move(mover)), progress_(progress), thread_([this] { run(); }) {}

MoveLane::~MoveLane() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  posted_.notify_all();
  thread_.join();
}

void MoveLane::post(const Period& period) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(period);
  }
  posted_.notify_all();
}

void MoveLane::run() {
  for (;;) {
    Period period;
    {
      std::unique_lock lock(mutex_);
      posted_.wait(lock, [&] { return stop_ || !queue_.empty(); });
      if (queue_.empty()) return;
      period = queue_.front();
      queue_.pop_front();
    }
    try {
      play(period);
    } catch (...) {
      progress_.fail(std::current_exception());
    }
  }
}

void MoveLane::play(const Period& period) {
  const auto count = static_cast<std::int32_t>(period.plan->actions.size());
  mover_->begin(period);
  for (std::int32_t i = 0; i < count; ++i) {
    const plan::Action& action = period.plan->actions[i];
    if (action.lane != lane_) continue;
    // Also for what is skipped: later actions are ordered after what it waits for through it alone.
    progress_.wait_for_dependencies(action, period);
    if (!period.skips(action)) {
      plan::Span& span = (*period.spans)[i];
      span.start = since(period.start);
      mover_->move(action, period.plan->buffers[action.slots[0].buffer]);
      span.end = since(period.start);
    }
    progress_.finish(lane_, period, i);
  }
  progress_.finish(lane_, period);
}

}  // namespace sluice::tier
