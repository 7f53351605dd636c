// The arithmetic of a reduction: contributions in the order given, 16-bit values in fp32.
#pragma once
#include <cstdint>
#include <span>

#include "collective/communicator.h"

namespace sluice::collective {

/// target[i] = sources[0][i] + sources[1][i] + ... from left to right (or their maximum), rounded to `type` once.
/// `target` may be one of the sources. Throws ConfigError for a sum of Bytes.
void reduce_in_order(void* target, std::span<const void* const> sources, std::int64_t count, ElementType type,
                     Reduce reduce);

}  // namespace sluice::collective
