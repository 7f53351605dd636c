// Space: a sweep over the list with the live residences of each arena sorted by address. An arena's bytes belong to
// one residence, or to the workspace, at every index.
#include <algorithm>
#include <map>

#include "plan/check_rules.h"
#include "plan/describe.h"

namespace sluice::plan {
namespace {

class MemorySweep {
 public:
  MemorySweep(const Plan& plan, const Machine& machine, CheckReport& report)
      : plan_(plan),
        machine_(machine),
        report_(report),
        live_(machine.tiers.size()),
        top_(machine.tiers.size()),
        starting_(plan.actions.size()),
        ending_(plan.actions.size()),
        in_workspace_(plan.residences.size()) {}

  void run() {
    for (std::size_t r = 0; r < plan_.residences.size(); ++r) {
      const Residence& stay = plan_.residences[r];
      starting_[stay.first].push_back(r);
      ending_[stay.last].push_back(r);
      if (stay.first > stay.last) enter(r, stay.last);
    }
    for (std::size_t i = 0; i < plan_.actions.size(); ++i) {
      const auto index = static_cast<std::int32_t>(i);
      for (const std::size_t r : starting_[i]) enter(r, index);
      check_workspace(index);
      for (const std::size_t r : ending_[i]) leave(r);
    }
    check_peaks();
  }

 private:
  [[nodiscard]] Bytes end_of(const Residence& stay) const { return stay.offset + plan_.buffers[stay.buffer].bytes; }

  void enter(std::size_t r, std::int32_t index) {
    const Residence& stay = plan_.residences[r];
    auto& tier = live_[stay.tier];
    auto next = tier.lower_bound(stay.offset);
    if (next != tier.end() && next->first < end_of(stay)) overlap(stay, plan_.residences[next->second], index);
    if (next != tier.begin()) {
      const Residence& below = plan_.residences[std::prev(next)->second];
      if (end_of(below) > stay.offset) overlap(stay, below, index);
    }
    tier.emplace(stay.offset, r);
    top_[stay.tier] = std::max(top_[stay.tier], end_of(stay));
  }

  void leave(std::size_t r) {
    auto& tier = live_[plan_.residences[r].tier];
    auto [from, to] = tier.equal_range(plan_.residences[r].offset);
    for (; from != to; ++from) {
      if (from->second != r) continue;
      tier.erase(from);
      return;
    }
  }

  void overlap(const Residence& stay, const Residence& other, std::int32_t index) {
    report_.add(index, stay.buffer,
                "overlaps the residence of " + describe_buffer(plan_, other.buffer) + " in " +
                    name(machine_.tiers[stay.tier].kind) + " at offset " +
                    std::to_string(std::max(stay.offset, other.offset)));
  }

  void check_workspace(std::int32_t i) {
    const Bytes workspace = plan_.actions[i].workspace;
    top_[0] = std::max(top_[0], workspace);
    widest_ = std::max(widest_, workspace);
    for (auto it = live_[0].begin(); it != live_[0].end() && it->first < workspace; ++it) {
      if (in_workspace_[it->second]) continue;
      in_workspace_[it->second] = true;
      report_.add(i, plan_.residences[it->second].buffer,
                  "residence at offset " + std::to_string(it->first) + " overlaps its workspace of " +
                      std::to_string(workspace) + " bytes");
    }
  }

  void check_peaks() {
    const int disk = disk_tier(machine_);
    if (disk >= 0) {
      for (const Buffer& buffer : plan_.buffers) top_[disk] += buffer.persistent ? buffer.bytes_on_disk() : 0;
    }
    for (std::size_t t = 0; t < top_.size(); ++t) {
      const std::string tier = name(machine_.tiers[t].kind);
      const Bytes planned = plan_.arena_peak[t], capacity = machine_.tiers[t].capacity;
      if (top_[t] > planned) {
        report_.add("arena_peak of " + tier + ": it says " + std::to_string(planned) + ", used are " +
                    std::to_string(top_[t]) + " bytes");
      }
      if (planned > capacity) {
        report_.add("capacity of " + tier + " exceeded: arena_peak is " + std::to_string(planned) + " of " +
                    std::to_string(capacity) + " bytes");
      }
    }
    if (widest_ > plan_.workspace_peak) {
      report_.add("workspace_peak: it says " + std::to_string(plan_.workspace_peak) + ", used are " +
                  std::to_string(widest_) + " bytes");
    }
  }

  const Plan& plan_;
  const Machine& machine_;
  CheckReport& report_;
  std::vector<std::multimap<Bytes, std::size_t>> live_;  // per tier: offset -> residence
  std::vector<Bytes> top_;                               // per tier: highest byte used
  std::vector<std::vector<std::size_t>> starting_, ending_;
  std::vector<bool> in_workspace_;  // reported
  Bytes widest_ = 0;                // workspace
};

}  // namespace

void check_memory(const Plan& plan, const Machine& machine, CheckReport& report) {
  MemorySweep(plan, machine, report).run();
}

}  // namespace sluice::plan
