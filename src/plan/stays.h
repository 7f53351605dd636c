// From waiting places to stays: in which arena each buffer is from which row to which, and the hops between. When moves
// happen is movement.cpp's business.
#pragma once
#include <vector>

#include "plan/movement.h"

namespace sluice::plan {

/// A hop of a buffer between neighbouring tiers.
struct Move {
  bool up = true;  // fetch; else write_back
  BufferId buffer = -1;
  int upper = 0;  // the hop joins `upper` and `upper` + 1
  int from_stay = -1, to_stay = -1;
  int row = -1;         // fetch: the row that needs it; write_back: the row that made it
  int room = 0;         // rows free of this buffer before (after) `row`
  int above = -1;       // fetch: the hop after it, nearer to the use
  bool passes = false;  // fetch: it comes from an arena where the buffer only passes through
  int lead = 0;         // fetch: placed so many rows earlier
  SkipWhen skip = SkipWhen::Never;
};

/// Stays that turned out to be part of another have buffer -1.
struct Stays {
  std::vector<Stay> stays;
  std::vector<Move> moves;
  std::vector<std::vector<int>> of_use;  ///< per row and use
};

[[nodiscard]] Stays find_stays(const StepRows& step, const Residency& residency, int num_arenas);

}  // namespace sluice::plan
