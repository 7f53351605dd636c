// The rules that need no simulation: indices, shapes of moves, places inside residences, dependencies backwards only.
#include <algorithm>

#include "plan/check_rules.h"
#include "plan/describe.h"

namespace sluice::plan {
namespace {

class Structure {
 public:
  Structure(const Plan& plan, const Machine& machine, CheckReport& report)
      : plan_(plan),
        machine_(machine),
        report_(report),
        num_actions_(static_cast<std::int32_t>(plan.actions.size())),
        num_tiers_(static_cast<int>(machine.tiers.size())),
        disk_(disk_tier(machine)) {}

  bool run() {
    if (!indices_are_valid()) return false;
    stays_.resize(plan_.buffers.size());
    for (const Residence& stay : plan_.residences) stays_[stay.buffer].push_back(&stay);
    for (std::int32_t i = 0; i < num_actions_; ++i) check_action(i);
    check_entry();
    return true;
  }

 private:
  bool indices_are_valid() {
    bool valid = true;
    const auto require = [&](bool condition, const std::string& line) {
      if (!condition) report_.add(line);
      valid = valid && condition;
    };
    require(num_tiers_ > 0, "machine: it has no tier");
    require(plan_.arena_peak.size() == machine_.tiers.size(), "arena_peak: expected one value per tier");
    for (const Residence& stay : plan_.residences) {
      const bool inside = stay.first >= 0 && stay.first < num_actions_ && stay.last >= 0 && stay.last < num_actions_;
      require(inside && is_buffer(stay.buffer) && is_arena(stay.tier) && stay.offset >= 0,
              "residence of " + describe_buffer(plan_, stay.buffer) + ": index, tier or offset out of range");
    }
    for (const EntryState& entry : plan_.entry) {
      require(is_buffer(entry.buffer) && is_arena(entry.tier),
              "entry of " + describe_buffer(plan_, entry.buffer) + ": buffer or tier out of range");
    }
    for (std::int32_t i = 0; i < num_actions_; ++i) {
      for (const Slot& slot : plan_.actions[i].slots) {
        require(is_buffer(slot.buffer) && slot.tier >= 0 && slot.tier < num_tiers_,
                report_.action_text(i) + ": slot names buffer " + std::to_string(slot.buffer) + " in tier " +
                    std::to_string(slot.tier) + ", out of range");
      }
      for (const Dependency& wait : plan_.actions[i].dependencies) {
        require(wait.action >= 0 && wait.action < num_actions_,
                report_.action_text(i) + ": dependency on action " + std::to_string(wait.action) + ", out of range");
      }
    }
    return valid;
  }

  void check_action(std::int32_t i) {
    const Action& action = plan_.actions[i];
    for (const Dependency& wait : action.dependencies) {
      if (!wait.previous_period && wait.action >= i) {
        report_.add(i, -1, "deadlock: it waits for the later action " + std::to_string(wait.action));
      }
    }
    if (is_move(action)) {
      check_move(i);
    } else {
      for (const Slot& slot : action.slots) check_compute_slot(i, slot);
    }
    for (const Slot& slot : action.slots) check_place(i, slot);
  }

  void check_move(std::int32_t i) {
    const Action& action = plan_.actions[i];
    if (action.slots.size() != 2 || action.slots[0].buffer != action.slots[1].buffer) {
      report_.add(i, -1, "illegal move: expected two slots {from, to} of one buffer");
      return;
    }
    const Slot &from = action.slots[0], &to = action.slots[1];
    const int expected = action.kind == ActionKind::Fetch ? from.tier - 1 : from.tier + 1;
    if (to.tier != expected) {
      report_.add(i, from.buffer,
                  "illegal move: from tier " + std::to_string(from.tier) + " to " + std::to_string(to.tier));
    } else if (const Lane lane = lane_of(action); action.lane != lane) {
      report_.add(i, from.buffer,
                  std::string("illegal move: on lane ") + name(action.lane) + ", expected " + name(lane));
    }
    const bool disk = std::max(from.tier, to.tier) == disk_;
    const Buffer& buffer = plan_.buffers[from.buffer];
    const Bytes all = disk ? buffer.bytes_on_disk() : buffer.bytes;
    if (action.bytes != all) {
      report_.add(i, from.buffer,
                  "illegal move: it moves " + std::to_string(action.bytes) + " bytes of " + std::to_string(all));
    }
  }

  [[nodiscard]] Lane lane_of(const Action& action) const {
    const bool up = action.kind == ActionKind::Fetch;
    if (std::max(action.slots[0].tier, action.slots[1].tier) == disk_) return up ? Lane::DiskRead : Lane::DiskWrite;
    return up ? Lane::HostToDevice : Lane::DeviceToHost;
  }

  void check_compute_slot(std::int32_t i, const Slot& slot) {
    const ActionKind kind = plan_.actions[i].kind;
    const bool block_math = kind == ActionKind::Forward || kind == ActionKind::Backward;
    if (slot.tier == disk_) {
      report_.add(i, slot.buffer, "input not resident: only fetch and write_back reach the disk");
    } else if (block_math && slot.tier != 0) {
      report_.add(i, slot.buffer, "block math in tier " + std::to_string(slot.tier) + ", expected tier 0");
    }
  }

  void check_place(std::int32_t i, const Slot& slot) {
    if (slot.tier == disk_) {
      if (slot.offset != -1) report_.add(i, slot.buffer, "the disk's table knows the place: expected offset -1");
      return;
    }
    bool in_tier = false;
    for (const Residence* stay : stays_[slot.buffer]) {
      if (stay->tier != slot.tier || !covers(*stay, i)) continue;
      if (stay->offset == slot.offset) return;
      in_tier = true;
    }
    const std::string tier = name(machine_.tiers[slot.tier].kind);
    report_.add(i, slot.buffer,
                in_tier ? "wrong offset " + std::to_string(slot.offset) + " in " + tier
                        : "not resident in " + tier + " at this action");
  }

  void check_entry() {
    std::vector<bool> in_entry(plan_.buffers.size());
    const auto stays_at = [&](const EntryState& entry, std::int32_t index) {
      return std::ranges::any_of(stays_[entry.buffer], [&](const Residence* stay) {
        return stay->tier == entry.tier && stay->offset == entry.offset && covers(*stay, index);
      });
    };
    for (const EntryState& entry : plan_.entry) {
      if (in_entry[entry.buffer]) report_.add("entry of " + describe_buffer(plan_, entry.buffer) + ": it stands twice");
      in_entry[entry.buffer] = true;
      if (num_actions_ == 0) continue;
      const bool leaves = plan_.variant == Variant::Flush && !plan_.buffers[entry.buffer].persistent;
      if (!stays_at(entry, 0) || (!leaves && !stays_at(entry, num_actions_ - 1))) {
        report_.add("entry of " + describe_buffer(plan_, entry.buffer) +
                    ": no residence at its place across the period's end");
      }
    }
    for (std::size_t b = 0; b < plan_.buffers.size(); ++b) {
      const auto id = static_cast<BufferId>(b);
      if (disk_ < 0 && plan_.buffers[b].persistent && !in_entry[b]) {
        report_.add(describe_buffer(plan_, id) + ": persistent, without a disk it must be in entry");
      }
    }
    for (const Residence& stay : plan_.residences) {
      if (stay.first > stay.last && !in_entry[stay.buffer]) {
        report_.add("residence of " + describe_buffer(plan_, stay.buffer) +
                    ": it wraps round the period's end but is not in entry");
      }
    }
  }

  [[nodiscard]] bool is_buffer(BufferId id) const {
    return id >= 0 && id < static_cast<BufferId>(plan_.buffers.size());
  }
  [[nodiscard]] bool is_arena(int tier) const { return tier >= 0 && tier < num_tiers_ && tier != disk_; }

  const Plan& plan_;
  const Machine& machine_;
  CheckReport& report_;
  std::int32_t num_actions_;
  int num_tiers_;
  int disk_;
  std::vector<std::vector<const Residence*>> stays_;  // per buffer
};

}  // namespace

bool check_structure(const Plan& plan, const Machine& machine, CheckReport& report) {
  return Structure(plan, machine, report).run();
}

}  // namespace sluice::plan
