// What the communication lane does with one row: chunks are made whole from the ranks' parts, gradients are summed over
// ranks, in the arena's planned places.
#pragma once
#include <memory>

#include "collective/communicator.h"
#include "tier/mover.h"

namespace sluice::exec {

/// Borrows `ranks`, which nobody else uses meanwhile. Its moves throw CommError.
std::unique_ptr<tier::Mover> make_collective_mover(collective::Communicator& ranks, tier::ArenaBases arenas);

}  // namespace sluice::exec
