// Fixed addresses: every stay gets one offset for as long as it lasts, above what torch's workspace may use meanwhile.
// Then who must wait for whom, from data and from reuse of addresses.
#pragma once
#include <span>
#include <vector>

#include "plan/movement.h"

namespace sluice::plan {

/// Gives each stay its offset (those already >= 0 are kept); returns the highest byte used per arena tier, workspace
/// included. Greedy: stays of the whole period first, then larger before smaller, each at the lowest free place; what
/// waits between periods stands in tier 0 at or above `entry_floor`.
std::vector<Bytes> place_stays(Draft& draft, std::span<const Buffer> buffers, int num_arena_tiers, Bytes entry_floor);

/// Fills Slot::offset and Action::dependencies, over two consecutive periods so that hazards across the period's end
/// are seen too. A dependency already implied by lane order or by a later action of the same lane is left out.
void add_dependencies(Draft& draft, std::span<const Buffer> buffers, bool cyclic);

}  // namespace sluice::plan
