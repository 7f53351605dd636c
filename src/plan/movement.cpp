#include "plan/movement.h"

#include <algorithm>
#include <map>

#include "plan/stays.h"

namespace sluice::plan {
namespace {

class MovePlanner {
 public:
  MovePlanner(const StepRows& step, Residency residency, const RowTimes& times, const Machine& machine,
              std::span<const Bytes> limits)
      : step_(step), residency_(std::move(residency)), times_(times), machine_(machine), limits_(limits) {
    Stays found = find_stays(step, residency_, arenas());
    draft_.stays = std::move(found.stays);
    moves_ = std::move(found.moves);
    stay_of_use_ = std::move(found.of_use);
    clock_ = paced_by_lanes();
  }

  Draft run(std::span<const Bytes> workspace) && {
    for (std::size_t tier = 0; tier + 1 < machine_.tiers.size(); ++tier) {
      hoist_fetches(static_cast<int>(tier));
      extend_write_backs(static_cast<int>(tier));
    }
    assemble(workspace);
    return std::move(draft_);
  }

 private:
  int arenas() const { return static_cast<int>(limits_.size()); }
  int num_rows() const { return static_cast<int>(step_.rows.size()); }
  Bytes bytes(BufferId buffer) const { return step_.buffers[buffer].bytes; }
  Bytes moved(const Move& move) const {
    return is_store(machine_.tiers[move.upper + 1].kind) ? step_.buffers[move.buffer].bytes_on_disk()
                                                         : bytes(move.buffer);
  }

  Seconds transfer(const Move& move) const {
    const Tier& tier = machine_.tiers[move.upper];
    return static_cast<double>(moved(move)) / (move.up ? tier.up : tier.down) + tier.latency;
  }

  // While both directions of a shared link are busy.
  Seconds crowded_transfer(const Move& move) const {
    const Tier& tier = machine_.tiers[move.upper];
    const BytesPerSecond alone = move.up ? tier.up : tier.down, both = move.up ? tier.up_both : tier.down_both;
    const BytesPerSecond rate = !tier.shared_link ? alone : both > 0 ? both : alone / 2;
    return static_cast<double>(moved(move)) / rate + tier.latency;
  }

  // When rows run if lanes never pause: where they are the bottleneck, rows wait for them, and a fetch that was asked
  // for by the clock of computing alone would hold memory for seconds that later ones lack.
  RowTimes paced_by_lanes() const {
    const std::size_t num_lanes = 2 * (machine_.tiers.size() - 1);
    std::vector<std::vector<Seconds>> load(num_lanes, std::vector<Seconds>(num_rows(), 0));
    for (const Move& move : moves_) {
      const int row = move.up ? move.row : std::min(move.row + 1, num_rows() - 1);
      load[2 * move.upper + (move.up ? 0 : 1)][row] += crowded_transfer(move);
    }
    RowTimes clock;
    Seconds now = 0;
    std::vector<Seconds> lane_free(num_lanes, 0);
    for (int row = 0; row < num_rows(); ++row) {
      for (std::size_t lane = 0; lane < num_lanes; ++lane) {
        lane_free[lane] += load[lane][row];
        now = std::max(now, lane_free[lane]);
      }
      clock.start.push_back(now);
      now += times_.duration(row);
    }
    clock.start.push_back(now);
    return clock;
  }

  int wrapped(int row) const { return (row % num_rows() + num_rows()) % num_rows(); }
  bool cyclic() const { return step_.variant == Variant::Train; }

  bool fits(int tier, int row, Bytes size) const { return residency_.profile.at(tier, row) + size <= limits_[tier]; }

  // The row before which a fetch must have brought its bytes; below 0 in the period before.
  int due_row(const Move& fetch) const { return fetch.row - (fetch.above < 0 ? 0 : moves_[fetch.above].lead); }

  Seconds start_of(int row) const { return clock_.start[wrapped(row)] - (row < 0 ? clock_.total() : 0); }

  // As late as it can be and still be done in time, lane by lane from the period's end backwards; earlier never helps.
  // The hop above is placed first; what it takes of the arena where the buffer passes through is taken here as well.
  void hoist_fetches(int upper) {
    std::vector<Move*> fetches;
    for (Move& move : moves_) {
      if (move.up && move.upper == upper) fetches.push_back(&move);
    }
    std::stable_sort(fetches.begin(), fetches.end(),
                     [&](const Move* a, const Move* b) { return due_row(*a) > due_row(*b); });
    Seconds next_start = 2 * clock_.total();
    for (Move* fetch : fetches) {
      constexpr double kMargin = 1.5;  // predictions are not promises: ask for half as much time again
      const Seconds start = std::min(next_start, start_of(due_row(*fetch))) - kMargin * transfer(*fetch);
      const Bytes size = bytes(fetch->buffer);
      int lead = fetch->row - due_row(*fetch);
      while (lead < fetch->room && (cyclic() || fetch->row - lead - 1 > 0)) {
        const int row = wrapped(fetch->row - lead - 1);
        if (start_of(fetch->row - lead) <= start || !fits(upper, row, size)) break;
        if (fetch->passes && !fits(upper + 1, row, size)) break;
        ++lead;
        residency_.profile.add(upper, row, row, size);
        if (fetch->passes) residency_.profile.add(upper + 1, row, row, size);
      }
      fetch->lead = lead;
      Stay& stay = draft_.stays[fetch->to_stay];
      stay.lead = std::max(stay.lead, lead);
      // In the midst of a long row the lane begins when it must, not where the list can say so.
      next_start = std::min(next_start, std::max(start, start_of(fetch->row - lead)));
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
      lane_free = std::max(lane_free, clock_.start[write->row + 1]) + transfer(*write);
      if (stay.last_row != write->row) continue;
      int lag = 0;
      while (lag < write->room && write->row + lag + 1 < num_rows() - (cyclic() ? 0 : 1)) {
        const int row = write->row + lag + 1;
        if (clock_.start[row] >= lane_free || !fits(upper, row, bytes(write->buffer)) ||
            std::ranges::find(fetch_rows[write->buffer], row) != fetch_rows[write->buffer].end())
          break;
        ++lag;
        residency_.profile.add(upper, row, row, bytes(write->buffer));
      }
      stay.lag = std::max(stay.lag, lag);
    }
  }

  // The list: before each row the fetches placed there (deep hops first), after it the write-backs of what it made.
  void assemble(std::span<const Bytes> workspace) {
    std::vector<std::vector<const Move*>> before(num_rows()), after(num_rows());
    for (const Move& move : moves_)
      (move.up ? before[wrapped(move.row - move.lead)] : after[move.row]).push_back(&move);
    std::vector<std::int32_t> action_of_row(num_rows(), 0);
    for (int row = 0; row < num_rows(); ++row) {
      std::stable_sort(before[row].begin(), before[row].end(), [&](const Move* a, const Move* b) {
        const int due_a = wrapped(a->row - row), due_b = wrapped(b->row - row);
        return due_a != due_b ? due_a < due_b : a->upper > b->upper;
      });
      for (const Move* move : before[row]) add_move(*move, row);
      action_of_row[row] = static_cast<std::int32_t>(draft_.actions.size());
      if (row == 0 && is_edge(row)) evict_unused();
      if (!is_edge(row)) add_compute(row, workspace[row]);
      for (const Move* move : after[row]) add_move(*move, row);
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

  void add_move(const Move& move, int row) {
    DraftAction draft;
    Action& action = draft.action;
    const bool store = is_store(machine_.tiers[move.upper + 1].kind);
    action.kind = move.up ? ActionKind::Fetch : ActionKind::WriteBack;
    action.lane =
        store ? (move.up ? Lane::DiskRead : Lane::DiskWrite) : (move.up ? Lane::HostToDevice : Lane::DeviceToHost);
    const bool early =
        move.up && row > move.row;  // hoisted across the period's end: there is always something to fetch
    action.skip = early ? SkipWhen::Never : move.skip;
    action.bytes = moved(move);
    action.duration = transfer(move);
    const int from_tier = move.up ? move.upper + 1 : move.upper;
    const int to_tier = move.up ? move.upper : move.upper + 1;
    action.slots = {{move.buffer, from_tier, -1, Access::Read}, {move.buffer, to_tier, -1, Access::Write}};
    draft.stays = {move.from_stay, move.to_stay};
    append(std::move(draft), 0);
  }

  void add_compute(int index, Bytes workspace) {
    const Row& row = step_.rows[index];
    DraftAction draft;
    Action& action = draft.action;
    action.kind = row.kind;
    action.lane = row.lane;
    action.among = row.among;
    action.wire = row.wire;
    action.skip = row.skip;
    action.block = row.block;
    action.micro_batch = row.micro_batch;
    action.segment = row.segment;
    action.chunk = row.chunk;
    action.slice = row.slice;
    action.pass = row.pass;
    action.repeat = row.repeat;
    action.workspace = workspace;
    action.bytes = row.bytes;
    action.duration = times_.duration(index);
    for (std::size_t u = 0; u < row.uses.size(); ++u) {
      action.slots.push_back({row.uses[u].buffer, row.uses[u].tier, -1, row.uses[u].access});
      draft.stays.push_back(stay_of_use_[index][u]);
    }
    append(std::move(draft), workspace);
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
  const RowTimes& times_;  // of computing alone
  RowTimes clock_;
  const Machine& machine_;
  const std::span<const Bytes> limits_;
  std::vector<std::vector<int>> stay_of_use_;
  std::vector<Move> moves_;
  std::map<int, std::vector<std::int32_t>> touched_;
  Draft draft_;
};

}  // namespace

Draft plan_moves(const StepRows& step, Residency residency, const RowTimes& times, std::span<const Bytes> workspace,
                 const Machine& machine, std::span<const Bytes> limits) {
  return MovePlanner(step, std::move(residency), times, machine, limits).run(workspace);
}

}  // namespace sluice::plan
