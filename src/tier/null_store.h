// A store in memory: where weights wait packed without a disk (plan/packed_ram.h), for tests of everything above the
// tiers, and the reference of the store contract.
#pragma once
#include <memory>

#include "tier/store.h"

namespace sluice::tier {

/// Keeps objects in anonymous memory, with the checksums of any store.
std::unique_ptr<Store> make_null_store(Bytes capacity);

}  // namespace sluice::tier
