// How full the arenas are along the list: what is live at each action, whatever the lanes' timing.
#include <algorithm>

#include "plan/simulator.h"

namespace sluice::plan {
namespace {

// Residences are what an arena holds; a lower tier without any is the disk, which the plan fills once and for all.
class OccupancySweep {
 public:
  explicit OccupancySweep(const Plan& plan)
      : plan_(plan), starting_(plan.actions.size()), ending_(plan.actions.size()) {}

  /// Bytes in use at each action; one call per object.
  std::vector<Bytes> curve_of(int tier) {
    const bool has_residences =
        std::ranges::any_of(plan_.residences, [&](const Residence& stay) { return stay.tier == tier; });
    if (tier > 0 && !has_residences) {
      const bool known = tier < static_cast<int>(plan_.arena_peak.size());
      return std::vector<Bytes>(plan_.actions.size(), known ? plan_.arena_peak[tier] : 0);
    }
    collect(tier);
    std::vector<Bytes> curve;
    for (std::size_t i = 0; i < plan_.actions.size(); ++i) {
      for (const Residence* stay : starting_[i]) enter(*stay);
      curve.push_back(live_bytes_ + (tier == 0 ? plan_.actions[i].workspace : 0));
      for (const Residence* stay : ending_[i]) leave(*stay);
    }
    return curve;
  }

 private:
  void collect(int tier) {
    for (const Residence& stay : plan_.residences) {
      if (stay.tier != tier) continue;
      starting_[stay.first].push_back(&stay);
      ending_[stay.last].push_back(&stay);
      if (stay.first > stay.last) enter(stay);
    }
  }

  void enter(const Residence& stay) { live_bytes_ += plan_.buffers[stay.buffer].bytes; }
  void leave(const Residence& stay) { live_bytes_ -= plan_.buffers[stay.buffer].bytes; }

  const Plan& plan_;
  std::vector<std::vector<const Residence*>> starting_, ending_;  // per action
  Bytes live_bytes_ = 0;
};

}  // namespace

std::vector<std::vector<Bytes>> occupancy(const Plan& plan, int num_tiers) {
  std::vector<std::vector<Bytes>> curves;
  for (int tier = 0; tier < num_tiers; ++tier) curves.push_back(OccupancySweep(plan).curve_of(tier));
  return curves;
}

}  // namespace sluice::plan
