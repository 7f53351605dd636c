// The three sizes of a DeepSpeed batch, any two of which give the third.
#pragma once
#include <cstdint>
#include <optional>

namespace sluice::recipe {

/// train = micro x accumulation x ranks.
struct BatchSizes {
  std::optional<std::int64_t> train = {}, micro = {}, accumulation = {};
};

/// All three, by DeepSpeed's rules (runtime/config.py, _set_batch_related_parameters): of two the third by whole
/// division, of one the accumulation is 1. Throws ConfigError where neither train nor micro is known, a size is not
/// above 0, or they contradict each other.
BatchSizes complete_batch(BatchSizes sizes, int num_ranks);

}  // namespace sluice::recipe
