#include "plan/residency.h"

#include <algorithm>
#include <cmath>

namespace sluice::plan {

Profile::Profile(int num_arena_tiers, int num_rows)
    : num_rows_(num_rows), bytes_(num_arena_tiers, std::vector<Bytes>(num_rows, 0)) {}

void Profile::add(int tier, int first, int last, Bytes bytes) {
  for (int row = first;; row = row + 1 == num_rows_ ? 0 : row + 1) {
    bytes_[tier][row] += bytes;
    if (row == last) return;
  }
}

Bytes Profile::most(int tier, int first, int last) const {
  Bytes most = 0;
  for (int row = first;; row = row + 1 == num_rows_ ? 0 : row + 1) {
    most = std::max(most, bytes_[tier][row]);
    if (row == last) return most;
  }
}

namespace {

struct PlacedUse {
  Use use;
  int row;
};

std::vector<std::vector<PlacedUse>> uses_by_buffer(const StepRows& step) {
  std::vector<std::vector<PlacedUse>> uses(step.buffers.size());
  for (int row = 0; row < static_cast<int>(step.rows.size()); ++row) {
    for (const Use& use : step.rows[row].uses) uses[use.buffer].push_back({use, row});
  }
  return uses;
}

class Chooser {
 public:
  Chooser(const StepRows& step, const RowTimes& times, const ResidencyOptions& options)
      : step_(step),
        times_(times),
        options_(options),
        result_{{}, Profile(static_cast<int>(options.limits.size()), static_cast<int>(step.rows.size())), {}} {}

  Residency run(std::span<const Bytes> workspace) && {
    for (int row = 0; row < num_rows(); ++row) {
      result_.profile.add(0, row, row, workspace[row]);
      for (const Use& use : step_.rows[row].uses) result_.profile.add(use.tier, row, row, bytes(use.buffer));
    }
    collect_gaps();
    place_gaps();
    find_shortages();
    return std::move(result_);
  }

 private:
  void collect_gaps() {
    const auto uses = uses_by_buffer(step_);
    for (BufferId buffer = 0; buffer < static_cast<BufferId>(uses.size()); ++buffer) {
      const auto& list = uses[buffer];
      for (std::size_t i = 0; i < list.size(); ++i) {
        const PlacedUse& from = list[i];
        const PlacedUse& to = list[(i + 1) % list.size()];
        if (to.use.access == Access::Write) continue;  // dead content
        Gap gap{.buffer = buffer, .from = from.use, .to = to.use, .from_row = from.row, .to_row = to.row};
        gap.wraps = i + 1 == list.size();
        gap.must_hold = from.use.hold_to_next;
        gap.hold_tier = from.use.hold_tier;
        gap.must_park = (gap.wraps && !options_.cyclic) || leaves_clean(gap, list);
        if (gap.must_park && (!options_.has_store || ends_here(gap))) continue;
        if (gap.must_park) gap.must_hold = false;
        result_.gaps.push_back(gap);
      }
    }
  }

  // The variant's end promises that the store holds the same bytes, and the variant has changed them.
  bool leaves_clean(const Gap& gap, const std::vector<PlacedUse>& uses) const {
    if (options_.cyclic || gap.wraps || !gap.to.clean) return false;
    return std::any_of(uses.begin(), uses.end(), [](const PlacedUse& u) { return u.use.access != Access::Read; });
  }

  // Of a variant that is no cycle: from its end to its start, or gradients that it used up.
  bool ends_here(const Gap& gap) const {
    const bool exit = step_.rows[gap.from_row].kind == ActionKind::Evict;
    const bool entry = step_.rows[gap.to_row].kind == ActionKind::Evict;
    return exit || (entry && !step_.buffers[gap.buffer].persistent);
  }

  // Traffic saved per byte held and second; what must be held comes first.
  double score(const Gap& gap) const {
    if (gap.must_hold) return INFINITY;
    Seconds seconds = times_.start[gap.to_row] - times_.start[gap.from_row + 1];
    if (gap.wraps) seconds += times_.total();
    const bool read_only = gap.from.access == Access::Read;
    return (read_only ? 1.0 : 2.0) / std::max(seconds, 1e-9);
  }

  void place_gaps() {
    std::vector<std::pair<double, std::size_t>> order;
    for (std::size_t i = 0; i < result_.gaps.size(); ++i) order.emplace_back(-score(result_.gaps[i]), i);
    std::sort(order.begin(), order.end());
    for (const auto& [unused, index] : order) place(result_.gaps[index]);
  }

  void place(Gap& gap) {
    const int num_arenas = static_cast<int>(options_.limits.size());
    const int top = std::max({gap.from.tier, gap.to.tier, gap.hold_tier});
    for (int level = gap.must_park ? num_arenas : top; level < num_arenas; ++level) {
      if (try_hold(gap, level)) return;
    }
    gap.level = options_.num_tiers - 1;  // the store; what passes through the arenas between is there at both ends
    for (int tier = 0; tier < num_arenas; ++tier) {
      if (tier > gap.from.tier) result_.profile.add(tier, gap.from_row, gap.from_row, bytes(gap.buffer));
      if (tier > gap.to.tier) result_.profile.add(tier, gap.to_row, gap.to_row, bytes(gap.buffer));
    }
  }

  bool try_hold(Gap& gap, int level) {
    const bool stays = gap.from.tier == level && gap.to.tier == level;
    int first = gap.from_row;
    int last = gap.to_row;
    if (stays) {
      first = first + 1 == num_rows() ? 0 : first + 1;
      last = last == 0 ? num_rows() - 1 : last - 1;
      if (rows_between(gap) == 0) {
        gap.level = level;
        return true;
      }
    }
    const Bytes size = bytes(gap.buffer);
    const bool must = gap.must_hold || (!options_.has_store && level + 1 == static_cast<int>(options_.limits.size()));
    if (!must && result_.profile.most(level, first, last) + size > options_.limits[level]) return false;
    result_.profile.add(level, first, last, size);
    gap.level = level;
    return true;
  }

  void find_shortages() {
    for (int tier = 0; tier < static_cast<int>(options_.limits.size()); ++tier) {
      Shortage worst{.tier = tier, .limit = options_.limits[tier]};
      for (int row = 0; row < num_rows(); ++row) {
        if (result_.profile.at(tier, row) <= worst.needed) continue;
        worst.needed = result_.profile.at(tier, row);
        worst.row = row;
      }
      if (worst.needed > worst.limit) result_.shortages.push_back(worst);
    }
  }

  int rows_between(const Gap& gap) const {
    return gap.wraps ? num_rows() - 1 - gap.from_row + gap.to_row : gap.to_row - gap.from_row - 1;
  }
  Bytes bytes(BufferId buffer) const { return step_.buffers[buffer].bytes; }
  int num_rows() const { return static_cast<int>(step_.rows.size()); }

  const StepRows& step_;
  const RowTimes& times_;
  const ResidencyOptions& options_;
  Residency result_;
};

}  // namespace

Residency choose_residency(const StepRows& step, const RowTimes& times, std::span<const Bytes> workspace,
                           const ResidencyOptions& options) {
  return Chooser(step, times, options).run(workspace);
}

}  // namespace sluice::plan
