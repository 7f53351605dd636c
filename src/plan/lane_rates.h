// How fast each lane runs while others do: directions of one disk share it, and lanes on few cores slow each other.
#pragma once
#include <array>

#include "plan/machine.h"
#include "plan/plan.h"

namespace sluice::plan {

class LaneRates {
 public:
  explicit LaneRates(const Machine& machine);

  /// Share of its speed alone that `lane` has while the lanes marked in `running` (itself among them) are busy.
  [[nodiscard]] double share(Lane lane, const std::array<bool, kNumLanes>& running) const;

  /// What no schedule beats for `work` (seconds of each lane alone): the busiest lane, both directions of a shared link
  /// together, and the compute lane slowed while the disk must be busy.
  [[nodiscard]] Seconds least_time(const std::array<Seconds, kNumLanes>& work) const;

 private:
  /// The other direction of a shared link, and each direction's share of its speed while both are under way.
  struct Link {
    int partner = -1;
    double share = 1;
  };
  [[nodiscard]] Seconds link_time(int lane, const std::array<Seconds, kNumLanes>& work) const;
  std::array<Link, kNumLanes> links_{};
  Contention contention_;
};

}  // namespace sluice::plan
