// The search: which attempts are made, and which of their plans is the best.
#include "plan/planner.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "plan/plan_builder.h"
#include "plan/simulator.h"

namespace sluice::plan {
namespace {

/// What the search has found so far, and how.
struct Found {
  std::optional<PlanSet> plans;
  Attempt attempt;
  double reserve = 0;
  Bytes least_written_per_day = std::numeric_limits<Bytes>::max();  // of all plans that fit
};

constexpr Seconds kNever = std::numeric_limits<Seconds>::infinity();

class Planner {
 public:
  Planner(const StepTrace& trace, const Machine& machine, const PlanRequest& request)
      : trace_(trace), machine_(machine), request_(request), builder_(trace, machine, request) {}

  PlanResult best() const {
    PlanResult result;
    double lower_share = 1.0;
    Found found;
    if (!frugal(machine_.tiers[0].capacity, lower_share, found)) {
      explain(result);
      return result;
    }
    search({.group_size = most_in_group(), .boundary_stride = least_stride()}, lower_share, found);
    if (request_.recipe.sharding.is_parallel() && !found.attempt.choices.overlap)  // two blocks at once are too many
      search({.group_size = most_in_group(), .boundary_stride = least_stride(), .overlap = false}, lower_share, found);
    if (!request_.forward_only) {
      search_segments(lower_share, found);
      search_orders(lower_share, found);
      refine_saving(found);
      refine_reserve(found);
      refine_limits(found);
    }
    if (!found.plans) result.least_written_per_day = found.least_written_per_day;
    result.plans = std::move(found.plans);
    return result;
  }

  PlanSet smallest() const { return smallest_frugal(1.0); }

 private:
  // Below an accelerator plans are large: two attempts in a row that are slower than the one before end the search.
  void search(const StepChoices& order, double lower_share, Found& found) const {
    Seconds before = kNever;
    int num_slower = 0;
    for (Attempt& attempt : attempts()) {
      attempt.lower_share = lower_share;
      attempt.choices.group_size = order.group_size;
      attempt.choices.boundary_stride = order.boundary_stride;
      attempt.choices.loss_in_segments = order.loss_in_segments;
      attempt.choices.overlap = order.overlap;
      Seconds best = kNever;
      for (const double reserve : reserves()) best = std::min(best, try_out(attempt, reserve, found));
      num_slower = best >= before ? num_slower + 1 : 0;
      if (builder_.arenas() > 1 && !request_.forward_only && num_slower == 2) return;
      before = best;
    }
  }

  // The loss in segments: a whole search where it is the only way or a probe of it won.
  void search_segments(double lower_share, Found& found) const {
    if (!has_loss_segments()) return;
    const StepChoices order{.group_size = most_in_group(), .boundary_stride = least_stride(), .loss_in_segments = true};
    const bool whole_won = !found.attempt.choices.loss_in_segments;
    for (const SavingPattern& saving : whole_won ? patterns() : std::vector<SavingPattern>())
      probe(order, saving, lower_share, found);
    if (found.attempt.choices.loss_in_segments) search(order, lower_share, found);
  }

  // Smaller groups, then fewer boundaries: a few probes each, and a whole search where another group size won.
  void search_orders(double lower_share, Found& found) const {
    StepChoices order{.boundary_stride = least_stride(), .loss_in_segments = found.attempt.choices.loss_in_segments};
    for (int size = 1; request_.group_size == 0 && size < most_in_group(); size *= 2) {
      order.group_size = size;
      for (const SavingPattern& saving : builder_.arenas() == 1 ? patterns() : std::vector{SavingPattern{}})
        probe(order, saving, lower_share, found);
    }
    order.group_size = found.attempt.choices.group_size;
    if (order.group_size < most_in_group()) search(order, lower_share, found);
    if (request_.boundary_stride > 0 || builder_.arenas() > 1) return;
    for (int stride = 2; 2 * stride <= num_layers(); stride *= 2) {
      order.boundary_stride = stride;
      probe(order, {}, lower_share, found);
      probe(order, found.attempt.saving, lower_share, found);
    }
  }

  // A plan that computes nothing twice and waits for nothing cannot be beaten.
  bool is_perfect(const Found& found) const {
    if (!found.plans || found.attempt.saving.num_last < num_saving()) return false;
    return found.plans->predicted.stall <= 0.001 * found.plans->predicted.total;
  }

  void probe(const StepChoices& order, const SavingPattern& saving, double lower_share, Found& found) const {
    if (is_perfect(found)) return;
    if (!may_choose_saving() && saving != patterns()[0]) return;
    Attempt attempt{.choices = order, .saving = saving, .lower_share = lower_share};
    attempt.choices.slice_bytes = 4 * MiB;
    try_out(attempt, reserves().back(), found);
  }

  // From the best pattern on: a few blocks more or fewer, then single classes or all of some blocks before them, for
  // what the links below have time for.
  void refine_saving(Found& found) const {
    if (!may_choose_saving() || builder_.arenas() > 1 || is_perfect(found) || !found.plans) return;
    const auto try_pattern = [&](const SavingPattern& saving) {
      if (saving.num_last < 0 || saving.num_last + saving.num_spread > num_saving() || saving.num_spread < 0) return;
      Attempt attempt = found.attempt;
      attempt.saving = saving;
      try_out(attempt, found.reserve, found);
    };
    const auto try_more_or_fewer = [&](int SavingPattern::*count) {
      for (const int step : {-4, 4, -2, 2, -1, 1}) {
        SavingPattern saving = found.attempt.saving;
        saving.*count += step;
        try_pattern(saving);
      }
    };
    try_more_or_fewer(&SavingPattern::num_last);
    for (const SavedMask classes : spread_classes()) {
      for (int quarter = 1; quarter <= 4; ++quarter) {
        const int last = found.attempt.saving.num_last;
        try_pattern({last, (num_saving() - last) * quarter / 4, classes});
      }
    }
    if (found.attempt.saving.num_spread == 0) return;
    try_more_or_fewer(&SavingPattern::num_spread);
    try_more_or_fewer(&SavingPattern::num_last);
  }

  // What waits and what is on its way compete for tier 0: the best share differs with what the links carry.
  void refine_reserve(Found& found) const {
    if (builder_.arenas() > 1 || is_perfect(found) || !found.plans) return;
    for (const double reserve : {0.04, 0.12, 0.16, 0.3, 0.4, 0.5}) try_out(found.attempt, reserve, found);
  }

  // `fit` shrinks in steps as large as what was missing: perhaps there is room above the limits that it found.
  void refine_limits(Found& found) const {
    if (request_.forward_only || builder_.arenas() > 1 || is_perfect(found) || !found.plans) return;
    const Bytes capacity = machine_.tiers[0].capacity;
    const auto raised = [&](Bytes limit, double share) {
      return limit + static_cast<Bytes>(static_cast<double>(capacity - limit) * share);
    };
    for (const auto& [hold, move] : {std::pair{0.0, 1.0}, {0.5, 0.5}, {0.25, 0.25}, {0.0, 0.5}, {0.12, 0.12}}) {
      Attempt attempt = found.attempt;
      attempt.hold_limit = raised(attempt.hold_limit, hold);
      attempt.move_limit = raised(attempt.move_limit, move);
      std::optional<PlanSet> plans = builder_.build(attempt);
      if (plans && builder_.within(*plans, capacity))
        consider(predicted(std::move(*plans)), attempt, found.reserve, found);
    }
  }

  // All classes, or one of them alone.
  std::vector<SavedMask> spread_classes() const {
    SavedMask all = 0;
    for (const BlockTrace& block : trace_.traces) all |= block.all_classes();
    std::vector<SavedMask> result = {all};
    for (SavedMask one = 1; one <= all && one != 0 && all != 1; one <<= 1) result.push_back(one);
    return result;
  }

  // Returns the attempt's cost; kNever where it does not fit.
  Seconds try_out(Attempt attempt, double reserve, Found& found) const {
    std::optional<PlanSet> plans = fit(attempt, machine_.tiers[0].capacity, reserve);
    if (!plans) return kNever;
    const Seconds result = cost(*plans);
    consider(std::move(*plans), attempt, reserve, found);
    return result;
  }

  void consider(PlanSet plans, const Attempt& attempt, double reserve, Found& found) const {
    const Bytes written = plans.predicted.written_per_day();
    found.least_written_per_day = std::min(found.least_written_per_day, written);
    if (request_.disk_write_limit > 0 && written > request_.disk_write_limit) return;
    if (!better(plans, found.plans)) return;
    found.plans = std::move(plans);
    found.attempt = attempt;
    found.reserve = reserve;
  }

  // Shrinks the attempt's limits until the placement, fragmentation included, fits as well.
  std::optional<PlanSet> fit(Attempt& attempt, Bytes capacity, double reserve) const {
    Bytes limit = capacity;
    for (int i = 0; i < 6; ++i) {
      attempt.hold_limit = static_cast<Bytes>(static_cast<double>(limit) * (1.0 - reserve));
      attempt.move_limit = limit;
      std::optional<PlanSet> plans = builder_.build(attempt);
      if (!plans) return std::nullopt;
      if (builder_.within(*plans, capacity)) return predicted(std::move(*plans));
      if (plans->arena_peak[0] > capacity || builder_.arenas() == 1) {
        limit -= std::max<Bytes>(plans->arena_peak[0] - capacity, MiB);
      } else {
        attempt.lower_share -= 0.125;
      }
    }
    return std::nullopt;
  }

  PlanSet predicted(PlanSet plans) const {
    if (request_.forward_only) return plans;
    plans.predicted = simulate(plans.train, machine_);
    plans.bound = lower_bound(plans.train, machine_);
    return plans;
  }

  // False: nothing fits. `lower_share` becomes the share of the lower arenas with which others are likely to fit: once
  // this one had to do with less, fuller plans need a step less.
  bool frugal(Bytes capacity, double& lower_share, Found& found) const {
    bool fits = false;
    for (Attempt& attempt : frugal_attempts()) {
      PlanSet plans = *builder_.build(attempt);
      while (!builder_.within(plans, capacity) && builder_.arenas() > 1 && attempt.lower_share > 0) {
        attempt.lower_share -= 0.125;
        plans = *builder_.build(attempt);
      }
      if (!builder_.within(plans, capacity)) continue;
      fits = true;
      lower_share = attempt.lower_share < 1.0 ? attempt.lower_share - 0.125 : 1.0;
      consider(predicted(std::move(plans)), attempt, 0, found);
    }
    return fits;
  }

  // With a tier below nothing waits in tier 0; without one everything must, and then the order of the step matters.
  std::vector<Attempt> frugal_attempts() const {
    if (request_.forward_only) return {{.num_resident = has_lower_tier() ? 0 : num_chunks()}};
    const SavingPattern saving = patterns().front();
    const auto attempt = [&](int group_size, int stride) {
      return Attempt{.choices = {.slice_bytes = MiB,
                                 .group_size = group_size,
                                 .boundary_stride = stride,
                                 .loss_in_segments = has_loss_segments(),
                                 .overlap = false},
                     .saving = saving};
    };
    std::vector<Attempt> attempts = {attempt(most_in_group(), least_stride())};
    const int least = request_.group_size == 0 ? 1 : most_in_group();
    if (least < most_in_group()) attempts.push_back(attempt(least, least_stride()));
    int stride = 1;
    while (saving.num_last == 0 && !builder_.has_store() && (stride + 1) * (stride + 1) <= num_layers()) ++stride;
    if (request_.boundary_stride == 0 && stride > 1) attempts.push_back(attempt(least, stride));
    return attempts;
  }

  PlanSet smallest_frugal(double lower_share) const {
    std::optional<PlanSet> smallest;
    for (Attempt& attempt : frugal_attempts()) {
      attempt.lower_share = lower_share;
      PlanSet plans = *builder_.build(attempt);
      if (!smallest || plans.arena_peak[0] < smallest->arena_peak[0]) smallest = std::move(plans);
    }
    return std::move(*smallest);
  }

  // Of equally fast forward passes the one that reads less.
  bool better(const PlanSet& plans, const std::optional<PlanSet>& than) const {
    if (!than || cost(plans) < cost(*than) * 0.999) return true;
    return request_.forward_only && plans.predicted.total <= than->predicted.total &&
           plans.predicted.disk_read < than->predicted.disk_read;
  }

  // A disk wears: what is written must save at least a hundredth of the time that writing it takes.
  Seconds cost(const PlanSet& plans) const {
    constexpr double kWear = 0.01;
    const Timeline& step = plans.predicted;
    if (step.disk_written == 0) return step.total;
    const BytesPerSecond rate = machine_.tiers[machine_.tiers.size() - 2].down;
    return step.total + kWear * static_cast<double>(step.disk_written) / rate;
  }

  int most_in_group() const {
    const int all = request_.recipe.num_micro_batches;
    return request_.group_size > 0 ? std::min(request_.group_size, all) : all;
  }
  int least_stride() const { return std::max(1, request_.boundary_stride); }
  int num_chunks() const { return static_cast<int>(trace_.chunks.size()); }
  bool may_choose_saving() const { return request_.activations == Activations::Auto && !request_.saving; }
  bool has_loss_segments() const { return !trace_.traces[trace_.blocks.back().trace].backward_segments.empty(); }
  bool has_lower_tier() const { return builder_.arenas() > 1 || builder_.has_store(); }
  int num_layers() const { return std::max(0, static_cast<int>(trace_.blocks.size()) - 2); }
  int num_saving() const { return num_saving_blocks(trace_); }

  std::vector<Attempt> attempts() const {
    std::vector<Attempt> result;
    if (!request_.forward_only) {
      for (const SavingPattern& saving : patterns())
        result.push_back({.choices = {.slice_bytes = 4 * MiB}, .saving = saving});
      return result;
    }
    for (int eighth = has_lower_tier() ? 0 : 8; eighth <= 8; ++eighth)
      result.push_back({.num_resident = num_chunks() * eighth / 8});
    return result;
  }

  // Shares of tier 0 that buffers on their way may use alone. Below an accelerator nearly everything is on its way, and
  // plans are large, so fewer are tried.
  std::vector<double> reserves() const {
    return builder_.arenas() == 1 ? std::vector{0.0, 0.08, 0.2} : std::vector{0.0, 0.9};
  }

  // What is asked for, or the first to be tried; the most frugal in front.
  std::vector<SavingPattern> patterns() const {
    const int most = num_saving();
    if (request_.saving) return {*request_.saving};
    switch (request_.activations) {
      case Activations::Keep:
      case Activations::Spill:
        return {{most}};
      case Activations::Recompute:
        return {{}};
      case Activations::Auto:
        break;
    }
    std::vector<int> counts = {0, 2, most / 4, most / 2, 3 * most / 4, most};
    if (builder_.arenas() == 1) counts.insert(counts.end(), {1, 3});
    for (int& count : counts) count = std::min(count, most);
    std::sort(counts.begin(), counts.end());
    counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
    std::vector<SavingPattern> result;
    for (const int count : counts) result.push_back({count});
    return result;
  }

  void explain(PlanResult& result) const {
    const PlanSet plans = smallest_frugal(0);
    for (int tier = 0; tier < static_cast<int>(machine_.tiers.size()); ++tier) {
      const Bytes capacity = machine_.tiers[tier].capacity;
      if (plans.arena_peak[tier] <= capacity) continue;
      result.short_tier = tier;
      result.needed = plans.arena_peak[tier];
      result.available = capacity;
      return;
    }
  }

  const StepTrace& trace_;
  const Machine& machine_;
  const PlanRequest& request_;
  const PlanBuilder builder_;
};

}  // namespace

PlanResult make_plan(const StepTrace& trace, const Machine& machine, const PlanRequest& request) {
  return Planner(trace, machine, request).best();
}

Bytes PlanSet::workspace_peak() const {
  Bytes peak = std::max({train.workspace_peak, flush.workspace_peak, evaluate ? evaluate->workspace_peak : 0});
  for (const Plan& plan : generate) peak = std::max(peak, plan.workspace_peak);
  return peak;
}

Bytes smallest_arena(const StepTrace& trace, const Machine& machine, const PlanRequest& request) {
  return smallest_plans(trace, machine, request).arena_peak[0];
}

PlanSet smallest_plans(const StepTrace& trace, const Machine& machine, const PlanRequest& request) {
  return Planner(trace, machine, request).smallest();
}

}  // namespace sluice::plan
