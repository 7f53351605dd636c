#include "plan/arena.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <numeric>

#include "base/check.h"

namespace sluice::plan {
namespace {

constexpr Bytes kPage = 4096;

struct Interval {  // of actions, at most two parts
  std::int32_t first, last;
  [[nodiscard]] bool wraps() const { return first > last; }
};

bool overlap(const Interval& a, const Interval& b) {
  if (a.wraps() && b.wraps()) return true;
  if (a.wraps()) return b.last >= a.first || b.first <= a.last;
  if (b.wraps()) return a.last >= b.first || a.first <= b.last;
  return a.first <= b.last && b.first <= a.last;
}

/// Answers "most workspace over a range of actions" in constant time.
class RangeMax {
 public:
  explicit RangeMax(std::span<const Bytes> values) : levels_(1, {values.begin(), values.end()}) {
    for (std::size_t width = 2; width <= values.size(); width *= 2) {
      const auto& below = levels_.back();
      std::vector<Bytes> level(values.size() - width + 1);
      for (std::size_t i = 0; i < level.size(); ++i) level[i] = std::max(below[i], below[i + width / 2]);
      levels_.push_back(std::move(level));
    }
  }
  [[nodiscard]] Bytes most(const Interval& interval) const {
    if (!interval.wraps()) return most(interval.first, interval.last);
    return std::max(most(interval.first, static_cast<std::int32_t>(levels_[0].size()) - 1), most(0, interval.last));
  }

 private:
  [[nodiscard]] Bytes most(std::int32_t first, std::int32_t last) const {
    std::size_t level = 0;
    while ((std::int32_t{2} << level) <= last - first + 1) ++level;
    return std::max(levels_[level][first], levels_[level][last - (1 << level) + 1]);
  }
  std::vector<std::vector<Bytes>> levels_;
};

Interval interval_of(const Stay& stay) { return {stay.first_action, stay.last_action}; }

/// A stay that has its place.
struct Placed {
  Bytes begin, end;
  Interval interval;
};

// `placed` is sorted by address.
Bytes lowest_place(const Interval& interval, Bytes bytes, Bytes floor, std::span<const Placed> placed) {
  Bytes offset = round_up(floor, kPage);
  for (const Placed& other : placed) {
    if (other.end <= floor || !overlap(other.interval, interval)) continue;
    if (offset + bytes <= other.begin) break;
    offset = std::max(offset, other.end);
  }
  return offset;
}

}  // namespace

std::vector<Bytes> place_stays(Draft& draft, std::span<const Buffer> buffers, int num_arena_tiers, Bytes entry_floor) {
  const RangeMax floors(draft.workspace_floor);
  std::vector<Bytes> peaks(num_arena_tiers, 0);
  if (!draft.workspace_floor.empty())
    peaks[0] = *std::max_element(draft.workspace_floor.begin(), draft.workspace_floor.end());
  std::vector<std::size_t> order(draft.stays.size());
  std::iota(order.begin(), order.end(), 0);
  const auto rank = [&](std::size_t i) {
    const Stay& stay = draft.stays[i];
    return std::tuple(stay.offset < 0, !stay.whole_period, -buffers[stay.buffer].bytes, stay.first_action, i);
  };
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return rank(a) < rank(b); });
  std::vector<std::vector<Placed>> placed(num_arena_tiers);
  for (const std::size_t i : order) {
    Stay& stay = draft.stays[i];
    const Bytes bytes = buffers[stay.buffer].bytes;
    Bytes floor = stay.tier == 0 ? floors.most(interval_of(stay)) : 0;
    const bool waits = stay.whole_period || interval_of(stay).wraps();
    if (stay.tier == 0 && waits) floor = std::max(floor, entry_floor);
    auto& others = placed[stay.tier];
    if (stay.offset < 0) stay.offset = lowest_place(interval_of(stay), bytes, floor, others);
    others.insert(std::ranges::upper_bound(others, stay.offset, {}, &Placed::begin),
                  {stay.offset, stay.offset + bytes, interval_of(stay)});
    peaks[stay.tier] = std::max(peaks[stay.tier], stay.offset + bytes);
  }
  return peaks;
}

namespace {

/// An action of one of the two periods that are walked: larger is later.
using Moment = std::int64_t;
constexpr Moment kNever = -1;

struct Touches {  // the latest touch per lane
  std::array<Moment, kNumLanes> by_lane{};
  Touches() { by_lane.fill(kNever); }
  void note(Lane lane, Moment when) {
    by_lane[static_cast<int>(lane)] = std::max(by_lane[static_cast<int>(lane)], when);
  }
  void merge(const Touches& other) {
    for (int lane = 0; lane < kNumLanes; ++lane) by_lane[lane] = std::max(by_lane[lane], other.by_lane[lane]);
  }
};

/// Who last touched each address of one tier.
class AddressOwners {
 public:
  AddressOwners() { owners_[0] = {}; }
  /// Merges into `touches` everyone who touched [begin, end).
  void collect(Bytes begin, Bytes end, Touches& touches) const {
    for (auto it = std::prev(owners_.upper_bound(begin)); it != owners_.end() && it->first < end; ++it)
      touches.merge(it->second);
  }
  void note(Bytes begin, Bytes end, Lane lane, Moment when) {
    split(begin);
    split(end);
    for (auto it = owners_.find(begin); it != owners_.end() && it->first < end; ++it) it->second.note(lane, when);
  }
  /// A new owner: what was there before is covered by the dependencies just made.
  void reset(Bytes begin, Bytes end) {
    split(begin);
    split(end);
    const auto first = owners_.find(begin);
    owners_.erase(std::next(first), owners_.find(end));
    first->second = {};
  }

 private:
  void split(Bytes at) {
    const auto it = std::prev(owners_.upper_bound(at));
    if (it->first != at) owners_.emplace(at, Touches(it->second));
  }
  std::map<Bytes, Touches> owners_;
};

class DependencyFinder {
 public:
  DependencyFinder(Draft& draft, std::span<const Buffer> buffers)
      : draft_(draft), buffers_(buffers), count_(static_cast<Moment>(draft.actions.size())) {}

  void run(bool cyclic) {
    for (int period = 0; period < (cyclic ? 2 : 1); ++period) {
      for (Moment i = 0; i < count_; ++i) visit(draft_.actions[i], i, period * count_ + i, period == (cyclic ? 1 : 0));
    }
  }

 private:
  struct Copy {  // of a buffer in one tier
    Touches writers, readers;
  };

  void visit(DraftAction& draft, Moment index, Moment now, bool record) {
    Action& action = draft.action;
    Touches wait;
    for (std::size_t s = 0; s < action.slots.size(); ++s) {
      const Copy& copy = copies_[{action.slots[s].buffer, action.slots[s].tier}];
      wait.merge(copy.writers);
      if (action.slots[s].access != Access::Read) wait.merge(copy.readers);
      if (begins(draft.stays[s], index))
        owners_[action.slots[s].tier].collect(begin_of(draft, s), end_of(draft, s), wait);
    }
    if (action.workspace > 0) owners_[0].collect(0, action.workspace, wait);
    for (std::size_t s = 0; s < action.slots.size(); ++s) note(draft, s, index, now);
    if (action.workspace > 0) {
      owners_[0].reset(0, action.workspace);
      owners_[0].note(0, action.workspace, action.lane, now);
    }
    if (record) write_down(action, wait, now);
  }

  void note(DraftAction& draft, std::size_t s, Moment index, Moment now) {
    const Action& action = draft.action;
    const Slot& slot = action.slots[s];
    Copy& copy = copies_[{slot.buffer, slot.tier}];
    if (slot.access == Access::Read) {
      copy.readers.note(action.lane, now);
    } else {
      copy = {};
      copy.writers.note(action.lane, now);
    }
    const int stay = draft.stays[s];
    if (stay < 0) return;
    if (begins(stay, index)) owners_[slot.tier].reset(begin_of(draft, s), end_of(draft, s));
    owners_[slot.tier].note(begin_of(draft, s), end_of(draft, s), action.lane, now);
  }

  void write_down(Action& action, const Touches& wait, Moment now) const {
    for (int lane = 0; lane < kNumLanes; ++lane) {
      const Moment when = wait.by_lane[lane];
      if (when == kNever || when == now || lane == static_cast<int>(action.lane)) continue;
      const bool previous = when / count_ != now / count_;
      action.dependencies.push_back({static_cast<std::int32_t>(when % count_), previous});
    }
  }

  bool begins(int stay, Moment index) const {
    return stay >= 0 && draft_.stays[stay].first_action == index && !draft_.stays[stay].whole_period;
  }
  Bytes begin_of(const DraftAction& draft, std::size_t s) const { return draft_.stays[draft.stays[s]].offset; }
  Bytes end_of(const DraftAction& draft, std::size_t s) const {
    return begin_of(draft, s) + buffers_[draft.action.slots[s].buffer].bytes;
  }

  Draft& draft_;
  std::span<const Buffer> buffers_;
  const Moment count_;
  std::map<std::pair<BufferId, int>, Copy> copies_;
  std::map<int, AddressOwners> owners_;
};

}  // namespace

void add_dependencies(Draft& draft, std::span<const Buffer> buffers, bool cyclic) {
  for (DraftAction& action : draft.actions) {
    for (std::size_t s = 0; s < action.stays.size(); ++s) {
      if (action.stays[s] >= 0) action.action.slots[s].offset = draft.stays[action.stays[s]].offset;
    }
  }
  DependencyFinder(draft, buffers).run(cyclic);
}

}  // namespace sluice::plan
