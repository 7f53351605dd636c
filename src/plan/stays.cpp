#include "plan/stays.h"

#include <algorithm>
#include <span>

namespace sluice::plan {
namespace {

class StayFinder {
 public:
  StayFinder(const StepRows& step, const Residency& residency, int num_arenas)
      : step_(step), residency_(residency), num_arenas_(num_arenas) {
    result_.of_use.resize(step.rows.size());
    for (std::size_t r = 0; r < step.rows.size(); ++r) result_.of_use[r].assign(step.rows[r].uses.size(), -1);
  }

  Stays run() && {
    build_stays();
    return std::move(result_);
  }

 private:
  struct PlacedUse {
    int row, index;
  };

  int arenas() const { return num_arenas_; }
  int num_rows() const { return static_cast<int>(step_.rows.size()); }

  int new_stay(BufferId buffer, int tier, int first, int last) {
    result_.stays.push_back({.buffer = buffer, .tier = tier, .first_row = first, .last_row = last});
    return static_cast<int>(result_.stays.size()) - 1;
  }

  void build_stays() {
    std::vector<std::vector<PlacedUse>> uses(step_.buffers.size());
    for (int r = 0; r < num_rows(); ++r) {
      for (int u = 0; u < static_cast<int>(step_.rows[r].uses.size()); ++u)
        uses[step_.rows[r].uses[u].buffer].push_back({r, u});
    }
    auto gap = residency_.gaps.begin();
    for (BufferId buffer = 0; buffer < static_cast<BufferId>(uses.size()); ++buffer) {
      auto end = gap;
      while (end != residency_.gaps.end() && end->buffer == buffer) ++end;
      build_stays_of(buffer, uses[buffer], {gap, end});
      gap = end;
    }
  }

  /// What the walk round the period knows of one buffer: which stays hold its latest content.
  struct Copies {
    std::vector<int> stays;  // per arena tier; -1: none
    bool stored = false;     // the store holds it
    bool clean = false;      // it did when the period ended
    void keep_only(int tier) {
      for (int t = 0; t < static_cast<int>(stays.size()); ++t) {
        if (t != tier) stays[t] = -1;
      }
    }
  };

  // Walks once round the period, from a use before which it is known what is where, and makes stays and moves on the
  // way. An unbroken run of uses in one tier is one stay; a copy that waits below stays on while it is only read.
  void build_stays_of(BufferId buffer, std::span<const PlacedUse> uses, std::span<const Gap> gaps) {
    if (uses.empty()) return;
    const auto use = [&](const PlacedUse& u) -> const Use& { return step_.rows[u.row].uses[u.index]; };
    std::vector<const Gap*> after(uses.size(), nullptr);
    for (const Gap& gap : gaps) {
      for (std::size_t i = 0; i < uses.size(); ++i) {
        if (uses[i].row == gap.from_row && (gap.wraps == (i + 1 == uses.size()))) after[i] = &gap;
      }
    }
    moves_may_skip_ = may_skip_moves(buffer, gaps);
    const auto first_stay = static_cast<int>(result_.stays.size());
    const std::size_t start = where_to_begin(uses, after);
    const Gap* before = after[(start + uses.size() - 1) % uses.size()];
    Copies copies{.stays = std::vector<int>(arenas(), -1), .stored = first_is_stored(use(uses[start]), before)};
    if (waits_all_round(use(uses[start]), before)) {
      copies.stays[before->level] = new_stay(buffer, before->level, 0, num_rows() - 1);
      result_.stays.back().whole_period = true;
    }
    const int begin = before != nullptr && copies.stays[use(uses[start]).tier] >= 0
                          ? copies.stays[use(uses[start]).tier]
                          : new_stay(buffer, use(uses[start]).tier, uses[start].row, uses[start].row);
    int current = begin;
    for (std::size_t n = 0; n < uses.size(); ++n) {
      const PlacedUse& here = uses[(start + n) % uses.size()];
      result_.stays[current].last_row = here.row;
      result_.of_use[here.row][here.index] = current;
      if (use(here).access != Access::Read) {
        copies.keep_only(use(here).tier);
        copies.stored = false;
      }
      copies.stays[use(here).tier] = current;
      const bool closes = n + 1 == uses.size();
      if (const Gap* gap = after[(start + n) % uses.size()]; gap != nullptr) {
        current = cross(*gap, current, closes ? begin : -1, copies);
      } else if (!closes) {  // what was there is dead, the next use writes
        copies = {.stays = std::vector<int>(arenas(), -1)};
        const PlacedUse& next = uses[(start + n + 1) % uses.size()];
        current = new_stay(buffer, use(next).tier, next.row, next.row);
      }
    }
    for (int stay = first_stay; stay < static_cast<int>(result_.stays.size()); ++stay)
      result_.stays[stay].clean_at_wrap = copies.clean;
  }

  // A use that writes, or to which nothing or only the store leads; else after a wait in its own tier; else any after a
  // wait below, where a copy then stays all round.
  std::size_t where_to_begin(std::span<const PlacedUse> uses, std::span<const Gap* const> after) const {
    const auto rank = [&](std::size_t i) {
      const Gap* gap = after[(i + uses.size() - 1) % uses.size()];
      if (gap == nullptr || gap->level >= arenas()) return 0;
      if (step_.rows[uses[i].row].uses[uses[i].index].access != Access::Read) return 1;
      if (is_held(*gap)) return rows_between(*gap) > 0 ? 2 : 4;
      return 3;
    };
    std::size_t best = 0;
    for (std::size_t i = 1; i < uses.size(); ++i) {
      if (rank(i) < rank(best)) best = i;
    }
    return best;
  }

  static bool is_held(const Gap& gap) { return gap.from.tier == gap.level && gap.to.tier == gap.level; }

  // An entry row knows; a fetch from the store proves it.
  bool first_is_stored(const Use& use, const Gap* before) const {
    return before == nullptr ? use.clean : before->level >= arenas();
  }

  bool waits_all_round(const Use& first, const Gap* before) const {
    return before != nullptr && before->level < arenas() && first.access == Access::Read && !is_held(*before);
  }

  // Carries a buffer over a gap: write_back hops, the stay where it waits, fetch hops. Returns the stay of the next
  // use. `begin` >= 0: the walk comes round, and that is the stay of its first use.
  int cross(const Gap& gap, int current, int begin, Copies& copies) {
    const int level = gap.level;
    if (is_held(gap)) {
      if (rows_between(gap) > 0) copies.keep_only(level);
      if (gap.wraps) copies.clean = copies.stored;
      return begin < 0 ? current : join(current, begin);
    }
    const bool ends_below = gap.to.tier == level;
    if (level >= arenas()) {
      if (!copies.stored) write_back(gap, current, -1);
      copies.stored = true;
    } else if (copies.stays[level] < 0) {
      const int target = ends_below && begin >= 0 ? begin : new_stay(gap.buffer, level, gap.from_row, gap.to_row);
      if (target == begin) result_.stays[begin].first_row = gap.from_row;
      write_back(gap, current, target);
      copies.stays[level] = target;
    } else {
      int& waiting = copies.stays[level];
      if (ends_below && begin >= 0) {
        waiting = join(waiting, begin);
      } else {
        result_.stays[waiting].last_row = gap.to_row;
      }
    }
    copies.keep_only(level);
    if (gap.wraps) copies.clean = copies.stored;
    if (ends_below) return copies.stays[level];
    const int target = begin >= 0 ? begin : new_stay(gap.buffer, gap.to.tier, gap.to_row, gap.to_row);
    fetch(gap, level < arenas() ? copies.stays[level] : -1, target);
    return target;
  }

  void write_back(const Gap& gap, int from, int target) {
    for (int upper = gap.from.tier; upper < gap.level; ++upper) {
      const int to = upper + 1 == gap.level ? target : new_stay(gap.buffer, upper + 1, gap.from_row, gap.from_row);
      result_.moves.push_back({.up = false,
                               .buffer = gap.buffer,
                               .upper = upper,
                               .from_stay = from,
                               .to_stay = to,
                               .row = gap.from_row,
                               .room = rows_between(gap),
                               .skip = skip_of(gap, gap.from_row)});
      from = to;
    }
  }

  void fetch(const Gap& gap, int from, int target) {
    // A copy that stays on below does not wait above, too, between periods.
    const bool stays_on = gap.wraps && gap.level < arenas() && gap.to.access == Access::Read;
    for (int upper = gap.level - 1; upper >= gap.to.tier; --upper) {
      const int to = upper == gap.to.tier ? target : new_stay(gap.buffer, upper, gap.to_row, gap.to_row);
      result_.moves.push_back({.up = true,
                               .buffer = gap.buffer,
                               .upper = upper,
                               .from_stay = from,
                               .to_stay = to,
                               .row = gap.to_row,
                               .room = stays_on ? std::min(rows_between(gap), gap.to_row) : rows_between(gap),
                               .above = upper == gap.to.tier ? -1 : static_cast<int>(result_.moves.size()) + 1,
                               .passes = upper + 1 < gap.level,
                               .skip = skip_of(gap, gap.to_row)});
      from = to;
    }
  }

  // Two stays turn out to be one, which goes on into the walk's first.
  int join(int earlier, int later) {
    Stay& stay = result_.stays[later];
    if (earlier == later) {
      stay.whole_period = true;
      return later;
    }
    stay.first_row = result_.stays[earlier].first_row;
    stay.whole_period = stay.whole_period || result_.stays[earlier].whole_period;
    for (Move& move : result_.moves) {
      if (move.from_stay == earlier) move.from_stay = later;
      if (move.to_stay == earlier) move.to_stay = later;
    }
    for (std::size_t row = 0; row < result_.of_use.size(); ++row)
      std::ranges::replace(result_.of_use[row], earlier, later);
    result_.stays[earlier].buffer = -1;
    return later;
  }

  int rows_between(const Gap& gap) const {
    return gap.wraps ? num_rows() - 1 - gap.from_row + gap.to_row : gap.to_row - gap.from_row - 1;
  }

  // Only updates read moments and pending gradients: with nothing to apply, their moves beside the update fall away
  // too.
  SkipWhen skip_of(const Gap& gap, int row) const {
    if (gap.level < arenas()) return SkipWhen::Never;
    const bool skips = step_.rows[row].skip == SkipWhen::NoUpdate;  // the others are known too late for a move
    return skips && moves_may_skip_ ? SkipWhen::NoUpdate : SkipWhen::Never;
  }

  // Only the store keeps what it has: a moment that a rule of several passes uses twice, and that anything else carries
  // to one of them, moves always.
  bool may_skip_moves(BufferId buffer, std::span<const Gap> gaps) const {
    const BufferKind kind = step_.buffers[buffer].kind;
    const auto keeps = [&](const Gap& gap) { return gap.level >= arenas() || (!gap.wraps && is_held(gap)); };
    return kind == BufferKind::Gradient || (kind == BufferKind::Moment && std::ranges::all_of(gaps, keeps));
  }

  const StepRows& step_;
  const Residency& residency_;
  const int num_arenas_;
  bool moves_may_skip_ = false;  // of the buffer whose stays are being built
  Stays result_;
};

}  // namespace

Stays find_stays(const StepRows& step, const Residency& residency, int num_arenas) {
  return StayFinder(step, residency, num_arenas).run();
}

}  // namespace sluice::plan
