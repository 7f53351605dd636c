// Content: the list run serially on version numbers. Every write makes a new version; a copy is good while it holds the
// latest. Two periods show what the wrap hides, and each is run with and without the skippable actions.
#include <algorithm>

#include "plan/check_rules.h"
#include "plan/describe.h"

namespace sluice::plan {
namespace {

struct Copy {
  int tier = 0;
  Bytes offset = -1;
  int version = 0;
};

/// Which versions exist and where. Version 0: there is no content.
struct Contents {
  std::vector<int> latest;                // per buffer
  std::vector<std::vector<Copy>> copies;  // per buffer
};

class SerialRun {
 public:
  SerialRun(const Plan& plan, const Machine& machine)
      : plan_(plan), disk_(disk_tier(machine)), ending_(plan.actions.size()) {
    for (const Residence& stay : plan.residences) ending_[stay.last].push_back(&stay);
    now_.latest.resize(plan.buffers.size());
    now_.copies.resize(plan.buffers.size());
  }

  // The state that a repetition of the plan finds: entry in place, the disk good for what was stored there.
  void start() {
    std::vector<bool> stored(plan_.buffers.size());
    for (const Action& action : plan_.actions) {
      if (action.kind == ActionKind::WriteBack && action.slots[1].tier == disk_) stored[action.slots[1].buffer] = true;
    }
    const bool repeats = plan_.variant == Variant::Train;
    for (std::size_t b = 0; b < plan_.buffers.size(); ++b) {
      const bool pending = plan_.buffers[b].kind == BufferKind::Gradient && (stored[b] || !repeats);
      if (disk_ < 0 || !(plan_.buffers[b].persistent || pending)) continue;
      now_.latest[b] = 1;
      now_.copies[b] = {{disk_, -1, 1}};
    }
    for (const EntryState& entry : plan_.entry) {
      now_.latest[entry.buffer] = 1;
      now_.copies[entry.buffer].push_back({entry.tier, entry.offset, 1});
    }
  }

  void start_after(const SerialRun& before, CheckReport& report) {
    now_ = before.now_;
    report_ = &report;
    circumstance_ = "";
    check_entry("differs from where the plan before left it");
  }

  void run_period(bool skip_updates, std::string_view circumstance, CheckReport* report) {
    report_ = report;
    circumstance_ = circumstance;
    any_skip_ = any_skip_ || skip_updates;
    begin_period();
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(plan_.actions.size()); ++i) {
      const Action& action = plan_.actions[i];
      if (!skip_updates || action.skip == SkipWhen::Never) run_action(i);
      for (const Residence* stay : ending_[i]) {
        if (!(i + 1 == static_cast<std::int32_t>(plan_.actions.size()) && is_entry(stay))) end_residence(*stay, i);
      }
    }
    end_period();
  }

 private:
  void run_action(std::int32_t i) {
    const Action& action = plan_.actions[i];
    if (action.kind == ActionKind::WriteBack && action.slots.size() == 2) check_write_back(i);
    if (action.kind == ActionKind::Evict) return evict(i);
    for (std::size_t s = 0; s < action.slots.size(); ++s) {
      if (access_of(action, s) != Access::Write) read(i, action.slots[s]);
    }
    for (std::size_t s = 0; s < action.slots.size(); ++s) {
      if (access_of(action, s) == Access::Read) continue;
      // A move copies what its source has; anything else makes something new.
      const BufferId buffer = action.slots[s].buffer;
      if (!is_move(action)) ++now_.latest[buffer];
      place(action.slots[s]).version = now_.latest[buffer];
    }
  }

  void read(std::int32_t i, const Slot& slot) {
    const Copy* copy = find(slot.buffer, slot.tier, slot.offset);
    const int latest = now_.latest[slot.buffer];
    if (latest == 0) {
      complain(i, slot.buffer, "reads it before anything is written to it");
      now_.latest[slot.buffer] = 1;
    } else if (copy == nullptr) {
      complain(i, slot.buffer, "reads it where it has not been put (fetch or write missing)");
    } else if (copy->version != latest) {
      complain(i, slot.buffer, "reads a stale version");
    } else {
      return;
    }
    place(slot).version = now_.latest[slot.buffer];  // one mistake, one line
  }

  void check_write_back(std::int32_t i) {
    const Slot& to = plan_.actions[i].slots[1];
    const Copy* copy = find(to.buffer, to.tier, to.offset);
    // With the updates skipped, a write_back may find nothing new: the plan cannot know.
    if (!any_skip_ && copy != nullptr && copy->version == now_.latest[to.buffer]) {
      complain(i, to.buffer, "writes back a clean copy");
    }
  }

  void evict(std::int32_t i) {
    for (const Slot& slot : plan_.actions[i].slots) {
      if (find(slot.buffer, slot.tier, slot.offset) == nullptr) {
        complain(i, slot.buffer, "evicts a copy that is not there");
      } else {
        drop(i, slot.buffer, slot.tier, slot.offset, "evicts the only copy of live data");
      }
    }
  }

  void end_residence(const Residence& stay, std::int32_t i) {
    drop(i, stay.buffer, stay.tier, stay.offset, "its residence ends here, but it is dirty and not written back");
  }

  void drop(std::int32_t i, BufferId buffer, int tier, Bytes offset, const char* what) {
    auto& copies = now_.copies[buffer];
    const auto at = std::ranges::find_if(copies, [&](const Copy& c) { return c.tier == tier && c.offset == offset; });
    if (at == copies.end()) return;
    const bool latest = at->version == now_.latest[buffer];
    copies.erase(at);
    if (!latest || !plan_.buffers[buffer].persistent) return;
    const auto good = [&](const Copy& copy) { return copy.version == now_.latest[buffer]; };
    if (std::ranges::any_of(copies, good)) return;
    complain(i, buffer, what);
    if (disk_ >= 0) place({buffer, disk_, -1}).version = now_.latest[buffer];
  }

  // What entry does not call clean may be dirty, so the plan must work when it is.
  void begin_period() {
    for (const EntryState& entry : plan_.entry) {
      Copy* stored = disk_ < 0 ? nullptr : find(entry.buffer, disk_, -1);
      if (stored != nullptr && !entry.clean) stored->version = 0;
    }
  }

  void end_period() {
    check_entry("is not restored at the end");
    for (std::size_t b = 0; b < plan_.buffers.size(); ++b) {
      // Only the training state and gradients that wait for their update outlive a period.
      const bool outlives = plan_.buffers[b].persistent || plan_.buffers[b].kind == BufferKind::Gradient;
      std::erase_if(now_.copies[b], [&](const Copy& copy) {
        const bool entry = is_entry(static_cast<BufferId>(b), copy.tier, copy.offset);
        return !entry && (copy.tier != disk_ || !outlives);
      });
      if (now_.copies[b].empty() && !plan_.buffers[b].persistent) now_.latest[b] = 0;
    }
  }

  void check_entry(const std::string& what) {
    for (const EntryState& entry : plan_.entry) {
      // Gradients that a flush used up need not be there at its end.
      if (plan_.variant == Variant::Flush && !plan_.buffers[entry.buffer].persistent) continue;
      expect_latest({entry.buffer, entry.tier, entry.offset}, what);
      if (entry.clean && disk_ >= 0) expect_latest({entry.buffer, disk_, -1}, "is called clean, but the disk is stale");
    }
  }

  void expect_latest(const Slot& where, const std::string& what) {
    int& latest = now_.latest[where.buffer];
    const Copy* copy = find(where.buffer, where.tier, where.offset);
    if (copy != nullptr && copy->version > 0 && copy->version == latest) return;
    if (report_ != nullptr) {
      report_->add("entry of " + describe_buffer(plan_, where.buffer) + " in tier " + std::to_string(where.tier) +
                       " at offset " + std::to_string(where.offset) + ": it " + what,
                   circumstance_);
    }
    latest = std::max(latest, 1);
    place(where).version = latest;
  }

  void complain(std::int32_t i, BufferId buffer, const std::string& what) {
    if (report_ != nullptr) report_->add(i, buffer, what, circumstance_);
  }

  Copy* find(BufferId buffer, int tier, Bytes offset) {
    for (Copy& copy : now_.copies[buffer]) {
      if (copy.tier == tier && copy.offset == offset) return &copy;
    }
    return nullptr;
  }
  Copy& place(const Slot& slot) {
    if (Copy* copy = find(slot.buffer, slot.tier, slot.offset)) return *copy;
    return now_.copies[slot.buffer].emplace_back(Copy{slot.tier, slot.offset, 0});
  }
  [[nodiscard]] bool is_entry(BufferId buffer, int tier, Bytes offset) const {
    return std::ranges::any_of(plan_.entry, [&](const EntryState& entry) {
      return entry.buffer == buffer && entry.tier == tier && entry.offset == offset;
    });
  }
  [[nodiscard]] bool is_entry(const Residence* stay) const { return is_entry(stay->buffer, stay->tier, stay->offset); }

  const Plan& plan_;
  const int disk_;
  std::vector<std::vector<const Residence*>> ending_;  // per action
  Contents now_;
  CheckReport* report_ = nullptr;
  std::string_view circumstance_;
  bool any_skip_ = false;  // in this or an earlier period
};

}  // namespace

void check_data(const Plan& plan, const Machine& machine, const Plan* before, CheckReport& report) {
  const bool skippable =
      std::ranges::any_of(plan.actions, [](const Action& action) { return action.skip != SkipWhen::Never; });
  const int num_periods = plan.variant == Variant::Train ? 2 : 1;
  const auto run = [&](bool skip_first, bool skip_second) {
    SerialRun serial(plan, machine);
    if (before != nullptr) {
      SerialRun leading(*before, machine);
      leading.start();
      leading.run_period(false, "", nullptr);
      leading.run_period(false, "", nullptr);
      serial.start_after(leading, report);
    } else {
      serial.start();
    }
    serial.run_period(skip_first, skip_first ? ", when updates are skipped" : "", &report);
    if (num_periods == 1) return;
    serial.run_period(skip_second,
                      skip_second ? ", in the next period when updates are skipped" : ", in the next period", &report);
  };
  run(false, false);
  if (!skippable) return;
  run(true, true);
  if (num_periods == 1) return;
  run(false, true);
  run(true, false);
}

}  // namespace sluice::plan
