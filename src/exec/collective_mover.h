// What the communication lane does with one row: chunks are made whole from the ranks' parts, gradients are summed over
// ranks, in the arena's planned places. What is sent in 16 bits is narrowed and widened in those places, too.
#pragma once
#include <memory>

#include "collective/communicator.h"
#include "tier/mover.h"

namespace sluice::exec {

/// The ranks that plan::Among names; nullptr: no row of the plan does.
struct LaneRanks {
  collective::Communicator* all = nullptr;
  collective::Communicator* group = nullptr;
  collective::Communicator* replicas = nullptr;
};

/// Borrows `ranks`, which nobody else uses meanwhile. Its moves throw CommError.
std::unique_ptr<tier::Mover> make_collective_mover(const LaneRanks& ranks, tier::ArenaBases arenas);

}  // namespace sluice::exec
