// The checker's front: runs the families of rules (check_*.cpp) and words their findings. It shares nothing with the
// planner but the nouns.
#include "plan/checker.h"

#include "plan/check_rules.h"
#include "plan/describe.h"

namespace sluice::plan {

void CheckReport::add(const std::string& line, std::string_view circumstance) {
  if (seen_.insert(line).second) lines_.push_back(line + std::string(circumstance));
}

void CheckReport::add(std::int32_t action, BufferId buffer, const std::string& what, std::string_view circumstance) {
  std::string line = action_text(action);
  if (buffer >= 0) line += ", " + describe_buffer(plan_, buffer);
  add(line + ": " + what, circumstance);
}

std::string CheckReport::action_text(std::int32_t action) const {
  return "action " + std::to_string(action) + " (" + describe_action(plan_, plan_.actions[action]) + ")";
}

int disk_tier(const Machine& machine) {
  if (machine.tiers.empty() || !is_store(machine.tiers.back().kind)) return -1;
  return static_cast<int>(machine.tiers.size()) - 1;
}

std::vector<std::string> check_plan(const Plan& plan, const Machine& machine, const Plan* before) {
  CheckReport report(plan);
  if (check_structure(plan, machine, report)) {
    check_memory(plan, machine, report);
    check_data(plan, machine, before, report);
    check_order(plan, machine, report);
    check_sums(plan, report);
    check_fixed_order(plan, report);
    check_updates(plan, report);
    check_ranks(plan, report);
    check_shared_sums(plan, report);
  }
  return report.take();
}

}  // namespace sluice::plan
