#include "plan/movement.h"

#include <algorithm>
#include <map>

#include "base/check.h"

namespace sluice::plan {
namespace {

/// A hop of a buffer between neighbouring tiers.
struct Move {
  bool up = true;  // fetch; else write_back
  BufferId buffer = -1;
  int upper = 0;  // the hop joins `upper` and `upper` + 1
  int from_stay = -1, to_stay = -1;
  int row = -1;  // fetch: the row that needs it; write_back: the row that made it
  int room = 0;  // rows free of this buffer before (after) `row`
  int lead = 0;  // fetch: placed so many rows earlier
  SkipWhen skip = SkipWhen::Never;
};

class MovePlanner {
 public:
  MovePlanner(const StepRows& step, Residency residency, const RowTimes& times, const Machine& machine,
              std::span<const Bytes> limits)
      : step_(step),
        residency_(std::move(residency)),
        times_(times),
        machine_(machine),
        limits_(limits),
        stay_of_use_(step.rows.size()) {
    for (std::size_t r = 0; r < step.rows.size(); ++r) stay_of_use_[r].assign(step.rows[r].uses.size(), -1);
  }

  Draft run(std::span<const RowWorkspace> workspace) && {
    build_stays();
    for (std::size_t tier = 0; tier + 1 < machine_.tiers.size(); ++tier) {
      hoist_fetches(static_cast<int>(tier));
      extend_write_backs(static_cast<int>(tier));
    }
    assemble(workspace);
    return std::move(draft_);
  }

 private:
  struct PlacedUse {
    int row, index;
  };

  int arenas() const { return static_cast<int>(limits_.size()); }
  int num_rows() const { return static_cast<int>(step_.rows.size()); }
  Bytes bytes(BufferId buffer) const { return step_.buffers[buffer].bytes; }

  int new_stay(BufferId buffer, int tier, int first, int last) {
    draft_.stays.push_back({.buffer = buffer, .tier = tier, .first_row = first, .last_row = last});
    return static_cast<int>(draft_.stays.size()) - 1;
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

  // One stay per unbroken run of uses in one tier; a run that reaches round the period's end becomes one stay.
  void build_stays_of(BufferId buffer, std::span<const PlacedUse> uses, std::span<const Gap> gaps) {
    if (uses.empty()) return;
    const auto use = [&](const PlacedUse& u) -> const Use& { return step_.rows[u.row].uses[u.index]; };
    std::vector<const Gap*> after(uses.size(), nullptr);
    for (const Gap& gap : gaps) {
      for (std::size_t i = 0; i < uses.size(); ++i) {
        if (uses[i].row == gap.from_row && (gap.wraps == (i + 1 == uses.size()))) after[i] = &gap;
      }
    }
    // Start where a stay starts; if every gap is held, the buffer never leaves.
    std::size_t start = uses.size();
    bool clear_cut = false;
    for (std::size_t i = 0; i < uses.size() && !clear_cut; ++i) {
      const Gap* before = after[(i + uses.size() - 1) % uses.size()];
      const bool begins = before == nullptr || before->level != use(uses[i]).tier || before->from.tier != before->level;
      if (!begins) continue;
      // A copy that waited in an arena below may stay on while it is only read: better not to start in its middle.
      clear_cut = before == nullptr || use(uses[i]).access != Access::Read || before->level >= arenas();
      if (clear_cut || start == uses.size()) start = i;
    }
    if (start == uses.size()) {
      const int stay = new_stay(buffer, use(uses[0]).tier, 0, num_rows() - 1);
      draft_.stays[stay].whole_period = true;
      draft_.stays[stay].clean_at_wrap = after.back() != nullptr && after.back()->stored;
      for (const PlacedUse& u : uses) stay_of_use_[u.row][u.index] = stay;
      return;
    }
    int current = -1;  // stay of the use at hand
    int parked = -1;   // stay in an arena below it
    unfilled_ = -1;
    for (std::size_t n = 0; n < uses.size(); ++n) {
      const PlacedUse& here = uses[(start + n) % uses.size()];
      if (current < 0) current = new_stay(buffer, use(here).tier, here.row, here.row);
      draft_.stays[current].last_row = here.row;
      stay_of_use_[here.row][here.index] = current;
      const Gap* gap = after[(start + n) % uses.size()];
      if (gap == nullptr || n + 1 == uses.size()) parked = gap == nullptr ? -1 : parked;
      current = gap == nullptr ? -1 : cross(*gap, current, parked);
    }
    if (unfilled_ >= 0 && parked >= 0 && parked != unfilled_) merge(parked, unfilled_);
  }

  // Carries a buffer over a gap: write_back hops, the stay where it waits, fetch hops. Returns the stay of the next use
  // (-1: it makes its own, or it is the first stay of the buffer, which a wrapping gap leads back to).
  int cross(const Gap& gap, int current, int& parked) {
    const int level = gap.level;
    if (gap.from.access != Access::Read) parked = -1;
    if (gap.from.tier == level && gap.to.tier == level) {
      if (gap.wraps) draft_.stays[current].clean_at_wrap = gap.stored;
      if (rows_between(gap) > 0) parked = -1;
      return current;
    }
    int waiting = -1;
    if (level < arenas()) {
      const int ahead = gap.to.tier == level ? stay_already_at(gap) : -1;
      if (gap.from.tier == level) {
        waiting = current;
      } else if (ahead >= 0) {
        waiting = ahead;
        if (ahead == parked && !gap.dirty) {  // it never left
          draft_.stays[ahead].whole_period = true;
        } else if (parked >= 0 && !gap.dirty) {
          merge(parked, ahead);
        } else {
          draft_.stays[ahead].first_row = gap.from_row;
        }
      } else if (parked >= 0 && draft_.stays[parked].tier == level) {
        waiting = parked;
      } else {
        waiting = new_stay(gap.buffer, level, gap.from_row, gap.to_row);
        if (!gap.dirty) unfilled_ = waiting;
      }
      if (waiting != ahead) draft_.stays[waiting].last_row = gap.to_row;
    }
    if (gap.dirty) {
      int from = current;
      for (int upper = gap.from.tier; upper < level; ++upper) {
        const int to = upper + 1 == level ? waiting : new_stay(gap.buffer, upper + 1, gap.from_row, gap.from_row);
        moves_.push_back({.up = false,
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
    parked = level < arenas() && gap.to.tier != level ? waiting : -1;
    if (gap.to.tier == level) return waiting;
    const int target = first_stay_after(gap);
    if (gap.wraps) draft_.stays[target].clean_at_wrap = gap.stored;
    int from = waiting;
    for (int upper = level - 1; upper >= gap.to.tier; --upper) {
      const int to = upper == gap.to.tier ? target : new_stay(gap.buffer, upper, gap.to_row, gap.to_row);
      moves_.push_back({.up = true,
                        .buffer = gap.buffer,
                        .upper = upper,
                        .from_stay = from,
                        .to_stay = to,
                        .row = gap.to_row,
                        .room = rows_between(gap),
                        .skip = skip_of(gap, gap.to_row)});
      from = to;
    }
    return target;
  }

  // Two stays turn out to be one that goes on into the walk's first.
  void merge(int earlier, int later) {
    draft_.stays[later].first_row = draft_.stays[earlier].first_row;
    for (Move& move : moves_) {
      if (move.from_stay == earlier) move.from_stay = later;
      if (move.to_stay == earlier) move.to_stay = later;
    }
    draft_.stays[earlier].buffer = -1;
  }

  // The stay of the use after `gap` when the walk round the period began with that use; else -1.
  int stay_already_at(const Gap& gap) const {
    const auto& uses = step_.rows[gap.to_row].uses;
    for (std::size_t u = 0; u < uses.size(); ++u) {
      if (uses[u].buffer == gap.buffer) return stay_of_use_[gap.to_row][u];
    }
    return -1;
  }

  int first_stay_after(const Gap& gap) {
    const int ahead = stay_already_at(gap);
    return ahead >= 0 ? ahead : new_stay(gap.buffer, gap.to.tier, gap.to_row, gap.to_row);
  }

  int rows_between(const Gap& gap) const {
    return gap.wraps ? num_rows() - 1 - gap.from_row + gap.to_row : gap.to_row - gap.from_row - 1;
  }

  // Only updates read moments and pending gradients: with nothing to apply, their moves beside the update fall away
  // too.
  SkipWhen skip_of(const Gap& gap, int row) const {
    const BufferKind kind = step_.buffers[gap.buffer].kind;
    if (gap.level < arenas()) return SkipWhen::Never;  // only the store keeps what it has
    return kind == BufferKind::Moment || kind == BufferKind::Gradient ? step_.rows[row].skip : SkipWhen::Never;
  }

  Seconds transfer(const Move& move) const {
    const Tier& tier = machine_.tiers[move.upper];
    return static_cast<double>(bytes(move.buffer)) / (move.up ? tier.up : tier.down) + tier.latency;
  }

  int wrapped(int row) const { return (row % num_rows() + num_rows()) % num_rows(); }
  bool cyclic() const { return step_.variant == Variant::Train; }

  bool fits(int tier, int row, Bytes size) const { return residency_.profile.at(tier, row) + size <= limits_[tier]; }

  // As late as it can be and still be done in time, lane by lane from the period's end backwards; earlier never helps.
  void hoist_fetches(int upper) {
    std::vector<Move*> fetches;
    for (Move& move : moves_) {
      if (move.up && move.upper == upper) fetches.push_back(&move);
    }
    std::stable_sort(fetches.begin(), fetches.end(), [](const Move* a, const Move* b) { return a->row > b->row; });
    Seconds next_start = 2 * times_.total();
    for (Move* fetch : fetches) {
      constexpr double kMargin = 1.5;  // predictions are not promises: ask for half as much time again
      const Seconds need = times_.start[fetch->row];
      const Seconds start = std::min(next_start, need) - kMargin * transfer(*fetch);
      const int stay = fetch->to_stay;
      int lead = 0;
      while (lead < fetch->room && (cyclic() || fetch->row - lead - 1 > 0)) {
        const int row = fetch->row - lead;  // placed before this row now
        const Seconds begins = row >= 0 ? times_.start[row] : times_.start[wrapped(row)] - times_.total();
        if (begins <= start || !fits(upper, wrapped(row - 1), bytes(fetch->buffer))) break;
        ++lead;
        residency_.profile.add(upper, wrapped(row - 1), wrapped(row - 1), bytes(fetch->buffer));
      }
      fetch->lead = lead;
      draft_.stays[stay].lead = std::max(draft_.stays[stay].lead, lead);
      const int placed = fetch->row - lead;
      next_start =
          std::min(next_start, placed >= 0 ? times_.start[placed] : times_.start[wrapped(placed)] - times_.total());
    }
  }

  // A buffer being written stays until the lane has had time for it, if memory allows.
  void extend_write_backs(int upper) {
    std::vector<Move*> writes;
    for (Move& move : moves_) {
      if (!move.up && move.upper == upper) writes.push_back(&move);
    }
    std::stable_sort(writes.begin(), writes.end(), [](const Move* a, const Move* b) { return a->row < b->row; });
    std::vector<std::vector<int>> fetch_rows(step_.buffers.size());  // where each buffer comes back
    for (const Move& move : moves_) {
      if (move.up && move.upper == upper) fetch_rows[move.buffer].push_back(wrapped(move.row - move.lead));
    }
    Seconds lane_free = 0;
    for (Move* write : writes) {
      Stay& stay = draft_.stays[write->from_stay];
      lane_free = std::max(lane_free, times_.start[write->row + 1]) + transfer(*write);
      if (stay.last_row != write->row) continue;
      int lag = 0;
      while (lag < write->room && write->row + lag + 1 < num_rows() - (cyclic() ? 0 : 1)) {
        const int row = write->row + lag + 1;
        if (times_.start[row] >= lane_free || !fits(upper, row, bytes(write->buffer)) ||
            std::ranges::find(fetch_rows[write->buffer], row) != fetch_rows[write->buffer].end())
          break;
        ++lag;
        residency_.profile.add(upper, row, row, bytes(write->buffer));
      }
      stay.lag = std::max(stay.lag, lag);
    }
  }

  // The list: before each row the fetches placed there (deep hops first), after it the write-backs of what it made.
  void assemble(std::span<const RowWorkspace> workspace) {
    std::vector<std::vector<const Move*>> before(num_rows()), after(num_rows());
    for (const Move& move : moves_)
      (move.up ? before[wrapped(move.row - move.lead)] : after[move.row]).push_back(&move);
    std::vector<std::int32_t> action_of_row(num_rows(), 0);
    Bytes held = 0;
    for (int row = 0; row < num_rows(); ++row) {
      std::stable_sort(before[row].begin(), before[row].end(), [&](const Move* a, const Move* b) {
        const int due_a = wrapped(a->row - row), due_b = wrapped(b->row - row);
        return due_a != due_b ? due_a < due_b : a->upper > b->upper;
      });
      for (const Move* move : before[row]) add_move(*move, row, held);
      action_of_row[row] = static_cast<std::int32_t>(draft_.actions.size());
      if (row == 0 && is_edge(row)) evict_unused();
      if (!is_edge(row)) add_compute(row, workspace[row]);
      held = workspace[row].after;
      for (const Move* move : after[row]) add_move(*move, row, held);
    }
    drop_merged();
    finish_stays(action_of_row);
  }

  void drop_merged() {
    std::vector<int> renumbered(draft_.stays.size(), -1);
    std::vector<Stay> kept;
    std::map<int, std::vector<std::int32_t>> touched;
    for (std::size_t i = 0; i < draft_.stays.size(); ++i) {
      if (draft_.stays[i].buffer < 0) continue;
      renumbered[i] = static_cast<int>(kept.size());
      touched[renumbered[i]] = std::move(touched_[static_cast<int>(i)]);
      kept.push_back(draft_.stays[i]);
    }
    draft_.stays = std::move(kept);
    touched_ = std::move(touched);
    for (DraftAction& action : draft_.actions) {
      for (int& stay : action.stays) stay = stay < 0 ? -1 : renumbered[stay];
    }
  }

  bool is_edge(int row) const { return step_.rows[row].kind == ActionKind::Evict; }

  // Clean copies that waited between periods and have no use here leave first.
  void evict_unused() {
    for (std::size_t u = 0; u < step_.rows[0].uses.size(); ++u) {
      const int id = stay_of_use_[0][u];
      const Stay& stay = draft_.stays[id];
      const bool written =
          std::any_of(moves_.begin(), moves_.end(), [&](const Move& m) { return !m.up && m.from_stay == id; });
      if (stay.whole_period || stay.last_row != 0 || written) continue;
      DraftAction draft;
      draft.action.kind = ActionKind::Evict;
      draft.action.slots = {{stay.buffer, stay.tier, -1, Access::Read}};
      draft.stays = {id};
      append(std::move(draft), 0);
    }
  }

  void add_move(const Move& move, int row, Bytes held) {
    DraftAction draft;
    Action& action = draft.action;
    const bool store = machine_.tiers[move.upper + 1].kind == TierKind::Disk;
    action.kind = move.up ? ActionKind::Fetch : ActionKind::WriteBack;
    action.lane =
        store ? (move.up ? Lane::DiskRead : Lane::DiskWrite) : (move.up ? Lane::HostToDevice : Lane::DeviceToHost);
    const bool early =
        move.up && row > move.row;  // hoisted across the period's end: there is always something to fetch
    action.skip = early ? SkipWhen::Never : move.skip;
    action.bytes = bytes(move.buffer);
    action.duration = transfer(move);
    const int from_tier = move.up ? move.upper + 1 : move.upper;
    const int to_tier = move.up ? move.upper : move.upper + 1;
    action.slots = {{move.buffer, from_tier, -1, Access::Read}, {move.buffer, to_tier, -1, Access::Write}};
    draft.stays = {move.from_stay, move.to_stay};
    append(std::move(draft), held);
  }

  void add_compute(int index, const RowWorkspace& workspace) {
    const Row& row = step_.rows[index];
    DraftAction draft;
    Action& action = draft.action;
    action.kind = row.kind;
    action.skip = row.skip;
    action.block = row.block;
    action.micro_batch = row.micro_batch;
    action.chunk = row.chunk;
    action.slice = row.slice;
    action.keep = row.keep;
    action.workspace = row.compute != nullptr ? workspace.during : 0;
    action.kept = row.compute != nullptr ? workspace.after : 0;
    action.bytes = row.bytes;
    action.duration = times_.duration(index);
    for (std::size_t u = 0; u < row.uses.size(); ++u) {
      action.slots.push_back({row.uses[u].buffer, row.uses[u].tier, -1, row.uses[u].access});
      draft.stays.push_back(stay_of_use_[index][u]);
    }
    append(std::move(draft), workspace.during);
  }

  void append(DraftAction draft, Bytes floor) {
    const auto index = static_cast<std::int32_t>(draft_.actions.size());
    for (const int stay : draft.stays) {
      if (stay >= 0) touched_[stay].push_back(index);
    }
    draft_.actions.push_back(std::move(draft));
    draft_.workspace_floor.push_back(floor);
  }

  // In actions: from the fetch or first use to the last use, write_back or lagging row, whichever comes last.
  void finish_stays(std::span<const std::int32_t> action_of_row) {
    const auto count = static_cast<std::int32_t>(draft_.actions.size());
    for (int id = 0; id < static_cast<int>(draft_.stays.size()); ++id) {
      Stay& stay = draft_.stays[id];
      if (stay.whole_period) {
        stay.first_action = 0;
        stay.last_action = count - 1;
        stay.pinned = true;
        continue;
      }
      const auto start = std::min(action_of_row[wrapped(stay.first_row - stay.lead)], count - 1);
      const auto distance = [&](std::int32_t action, std::int32_t origin) { return (action - origin + count) % count; };
      // Fetches that begin the stay stand just before that row's action.
      std::int32_t origin = start;
      for (const std::int32_t action : touched_[id]) {
        const Action& touching = draft_.actions[action].action;
        if (touching.kind == ActionKind::Fetch && draft_.actions[action].stays[1] == id) origin = action;
        if (touching.kind == ActionKind::WriteBack && draft_.actions[action].stays[1] == id) origin = action;
      }
      if (is_edge(stay.first_row) && stay.first_row == 0) origin = 0;
      stay.pinned = is_edge(stay.first_row) || is_edge(stay.last_row);
      stay.first_action = origin;
      std::int32_t last = origin;
      const auto reach = [&](std::int32_t action) {
        if (distance(action, origin) > distance(last, origin)) last = action;
      };
      for (const std::int32_t action : touched_[id]) reach(action);
      if (stay.lag > 0) reach(action_of_row[wrapped(stay.last_row + stay.lag)]);
      if (is_edge(stay.last_row) && stay.last_row == num_rows() - 1) reach(count - 1);
      stay.last_action = last;
    }
  }

  const StepRows& step_;
  Residency residency_;
  const RowTimes& times_;
  const Machine& machine_;
  const std::span<const Bytes> limits_;
  std::vector<std::vector<int>> stay_of_use_;
  std::vector<Move> moves_;
  int unfilled_ = -1;  // a copy below that the walk met before the write_back that made it
  std::map<int, std::vector<std::int32_t>> touched_;
  Draft draft_;
};

}  // namespace

Draft plan_moves(const StepRows& step, Residency residency, const RowTimes& times,
                 std::span<const RowWorkspace> workspace, const Machine& machine, std::span<const Bytes> limits) {
  return MovePlanner(step, std::move(residency), times, machine, limits).run(workspace);
}

}  // namespace sluice::plan
