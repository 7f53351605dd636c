// Fresh parameters: element i of parameter p is a pure function of (seed, name of p, i), so that any slice of any chunk
// can be made anywhere, in any order, on any rank.
#pragma once
#include <cstdint>
#include <span>

#include "model/block.h"

namespace sluice::model {

/// Elements [first_element, first_element + out.size()) of the parameter. Runs on the calling thread; any number of
/// threads may fill different slices.
void init_parameter(const ParameterSpec& spec, std::uint64_t seed, std::int64_t first_element, std::span<float> out);

}  // namespace sluice::model
