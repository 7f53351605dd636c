// From waiting places to moves: fetches hoisted as far ahead as time asks and memory allows, write-backs that get time
// to finish, and the list of actions in which all of them stand.
#pragma once
#include <span>
#include <vector>

#include "plan/plan.h"
#include "plan/residency.h"

namespace sluice::plan {

/// A buffer's stay in an arena tier, in rows while moves are planned, in actions once the list stands.
struct Stay {
  BufferId buffer = -1;
  int tier = 0;
  int first_row = 0, last_row = 0;  ///< uses; the stay wraps round the period's end when first > last
  bool whole_period = false;
  bool pinned = false;    ///< of a variant that is no cycle: it is where it was before, or where it must be after
  int lead = 0, lag = 0;  ///< rows added in front (fetched early) and behind (still being written)
  std::int32_t first_action = -1, last_action = -1;
  bool clean_at_wrap = false;  ///< if it waits between periods: the store holds the same bytes
  Bytes offset = -1;
};

/// An action whose slots name stays (-1: the store) until those have offsets.
struct DraftAction {
  Action action;
  std::vector<int> stays;  ///< parallel to action.slots
};

struct Draft {
  std::vector<DraftAction> actions;
  std::vector<Stay> stays;
  std::vector<Bytes> workspace_floor;  ///< per action: bytes at the bottom of tier 0's arena that torch may use
};

/// `workspace`: per row, what torch uses while it runs.
[[nodiscard]] Draft plan_moves(const StepRows& step, Residency residency, const RowTimes& times,
                               std::span<const Bytes> workspace, const Machine& machine, std::span<const Bytes> limits);

}  // namespace sluice::plan
