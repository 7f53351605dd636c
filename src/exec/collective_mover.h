// What the communication lane does with one row: chunks are made whole from the ranks' parts, gradients are summed over
// ranks, in the arena's planned places. What is sent in 16 bits is narrowed and widened in those places, too; what is
// sent in one bit has places of its own there.
#pragma once
#include <memory>
#include <span>

#include "collective/communicator.h"
#include "plan/trace.h"
#include "tier/mover.h"

namespace sluice::exec {

/// The ranks that plan::Among names; nullptr: no row of the plan does.
struct LaneRanks {
  collective::Communicator* all = nullptr;
  collective::Communicator* group = nullptr;
  collective::Communicator* replicas = nullptr;
};

/// Borrows `ranks`, which nobody else uses meanwhile, and the chunks. Its moves throw CommError.
std::unique_ptr<tier::Mover> make_collective_mover(const LaneRanks& ranks, std::span<const plan::Chunk> chunks,
                                                   tier::ArenaBases arenas);

}  // namespace sluice::exec
