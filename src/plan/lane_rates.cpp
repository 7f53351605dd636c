#include "plan/lane_rates.h"

#include <algorithm>

namespace sluice::plan {
namespace {

constexpr int kCompute = static_cast<int>(Lane::Compute);
constexpr int kRead = static_cast<int>(Lane::DiskRead);
constexpr int kWrite = static_cast<int>(Lane::DiskWrite);

double share_of(BytesPerSecond both, BytesPerSecond alone) {
  return both > 0 && alone > 0 ? std::min(both / alone, 1.0) : 0.5;
}

}  // namespace

LaneRates::LaneRates(const Machine& machine) : contention_(machine.contention) {
  for (std::size_t t = 0; t + 1 < machine.tiers.size(); ++t) {
    const Tier& tier = machine.tiers[t];
    if (!tier.shared_link) continue;
    const bool disk = is_store(machine.tiers[t + 1].kind);
    const int up = disk ? kRead : static_cast<int>(Lane::HostToDevice);
    const int down = disk ? kWrite : static_cast<int>(Lane::DeviceToHost);
    links_[up] = {down, share_of(tier.up_both, tier.up)};
    links_[down] = {up, share_of(tier.down_both, tier.down)};
  }
}

double LaneRates::share(Lane lane, const std::array<bool, kNumLanes>& running) const {
  const int index = static_cast<int>(lane);
  if (index == kCompute) {
    if (running[kRead] && running[kWrite]) return contention_.compute_beside_both;
    if (running[kRead]) return contention_.compute_beside_read;
    return running[kWrite] ? contention_.compute_beside_write : 1;
  }
  double result = links_[index].partner >= 0 && running[links_[index].partner] ? links_[index].share : 1;
  if (running[kCompute] && index == kRead) result *= contention_.read_beside_compute;
  if (running[kCompute] && index == kWrite) result *= contention_.write_beside_compute;
  return result;
}

// Both directions at once until the shorter is done, then the rest of the longer alone; one after the other where that
// is faster.
Seconds LaneRates::link_time(int lane, const std::array<Seconds, kNumLanes>& work) const {
  const Link& link = links_[lane];
  if (link.partner < 0) return work[lane];
  const double here = link.share, there = links_[link.partner].share;
  const Seconds until_here = work[lane] / here, until_there = work[link.partner] / there;
  const Seconds together = until_here < until_there ? until_here + work[link.partner] - until_here * there
                                                    : until_there + work[lane] - until_there * here;
  return std::min(work[lane] + work[link.partner], together);
}

Seconds LaneRates::least_time(const std::array<Seconds, kNumLanes>& work) const {
  Seconds bound = 0;
  for (int lane = 0; lane < kNumLanes; ++lane) bound = std::max(bound, link_time(lane, work));
  const double mildest =
      std::max({contention_.compute_beside_read, contention_.compute_beside_write, contention_.compute_beside_both});
  const Seconds disk = std::max(work[kRead], work[kWrite]);
  return std::max(bound, work[kCompute] + std::max(0.0, 1 - mildest) * disk);
}

}  // namespace sluice::plan
