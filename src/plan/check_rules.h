// The parts of the checker: each proves one family of rules and adds a line per violation. Internal to checker.cpp.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "plan/machine.h"
#include "plan/plan.h"

namespace sluice::plan {

/// Violations in order of discovery, each text once.
class CheckReport {
 public:
  explicit CheckReport(const Plan& plan) : plan_(plan) {}

  void add(const std::string& line, std::string_view circumstance = {});
  /// "action 3 (forward block 1 mb 0), weight chunk 1: <what><circumstance>". The circumstance does not count when
  /// two lines are compared; `buffer` -1 is left out.
  void add(std::int32_t action, BufferId buffer, const std::string& what, std::string_view circumstance = {});
  [[nodiscard]] std::string action_text(std::int32_t action) const;
  [[nodiscard]] std::vector<std::string> take() { return std::move(lines_); }

 private:
  const Plan& plan_;
  std::vector<std::string> lines_;
  std::unordered_set<std::string> seen_;
};

/// The disk's index, or -1 for a machine without one.
[[nodiscard]] int disk_tier(const Machine& machine);

/// A move's first slot is read and its second written, whatever the slots say.
[[nodiscard]] inline bool is_move(const Action& action) {
  return action.kind == ActionKind::Fetch || action.kind == ActionKind::WriteBack;
}
[[nodiscard]] inline Access access_of(const Action& action, std::size_t slot) {
  if (is_move(action)) return slot == 0 ? Access::Read : Access::Write;
  return action.slots[slot].access;
}

/// An exchange of what updates measure of tensors that ranks divide; it is made or not as those updates are.
[[nodiscard]] inline bool exchanges_sums(const Action& action) {
  const ActionKind kind = action.kind;
  return action.lane == Lane::Compute &&
         (kind == ActionKind::Recv || kind == ActionKind::Send || kind == ActionKind::Broadcast);
}

/// Is the residence there while action `index` runs?
[[nodiscard]] inline bool covers(const Residence& stay, std::int32_t index) {
  if (stay.first <= stay.last) return stay.first <= index && index <= stay.last;
  return index >= stay.first || index <= stay.last;
}

/// Indices in range, moves between neighbouring tiers on the right lane, slots inside residences, dependencies only on
/// earlier actions. False: indices are broken and the other parts must not run.
[[nodiscard]] bool check_structure(const Plan& plan, const Machine& machine, CheckReport& report);

/// No overlap in an arena at any index of the list, peaks true and within capacity.
void check_memory(const Plan& plan, const Machine& machine, CheckReport& report);

/// Versions: the list run serially, with and without the skippable actions, over two periods.
void check_data(const Plan& plan, const Machine& machine, const Plan* before, CheckReport& report);

/// Gradients: every plan of a step adds in the same order, and nothing is read before its sum is complete.
void check_sums(const Plan& plan, CheckReport& report);

/// Gradients that ranks add up micro-batch by micro-batch: each once, in the one order, and all before they are read.
void check_fixed_order(const Plan& plan, CheckReport& report);

/// Updates: each slice once a period, with a gradient that is whole and measured where it must be, and never between
/// two computations of one step.
void check_updates(const Plan& plan, CheckReport& report);

/// Ranks: whole weights, gradients summed over ranks once, norms agreed on before they decide.
void check_ranks(const Plan& plan, CheckReport& report);

/// Sums over whole tensors: every rank goes on where the one before has stopped, and nothing reads them before all
/// ranks have the whole.
void check_shared_sums(const Plan& plan, CheckReport& report);

/// Lanes: whatever must keep the list's order is ordered by lanes and dependencies.
void check_order(const Plan& plan, const Machine& machine, CheckReport& report);

}  // namespace sluice::plan
