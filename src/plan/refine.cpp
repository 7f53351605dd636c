#include "plan/refine.h"

#include <map>

#include "plan/simulator.h"

namespace sluice::plan {
namespace {

struct Sums {
  Seconds measured = 0, predicted = 0;
  [[nodiscard]] bool known() const { return measured > 0 && predicted > 0; }
  [[nodiscard]] double ratio() const { return measured / predicted; }
};

Machine without_contention(Machine machine) {
  machine.contention = {};
  for (Tier& tier : machine.tiers) tier.shared_link = false;
  return machine;
}

}  // namespace

Timeline refine(const Plan& plan, const Machine& machine, const Timeline& measured) {
  std::map<ActionKind, Sums> kinds;
  std::map<Lane, Sums> lanes;
  Plan learnt = plan;
  std::vector<char> known(plan.actions.size(), 0);
  for (const Span& span : measured.spans) {
    const Action& action = plan.actions[span.action];
    const Seconds seconds = span.end - span.start;
    for (Sums* sums : {&kinds[action.kind], &lanes[action.lane]}) {
      sums->measured += seconds;
      sums->predicted += action.duration;
    }
    learnt.actions[span.action].duration = seconds;
    known[span.action] = 1;
  }
  for (std::size_t i = 0; i < learnt.actions.size(); ++i) {
    if (known[i] != 0) continue;
    Action& action = learnt.actions[i];
    const Sums &kind = kinds[action.kind], &lane = lanes[action.lane];
    if (kind.known() || lane.known()) action.duration *= kind.known() ? kind.ratio() : lane.ratio();
  }
  return simulate(learnt, without_contention(machine));
}

}  // namespace sluice::plan
