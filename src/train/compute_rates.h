// What the planner prices computations with, measured on this machine's own kernels.
#pragma once
#include <functional>

#include "recipe/machine_file.h"

namespace sluice::train {

enum class Effort {
  Quick,     ///< about a second: the shapes that matter most
  Thorough,  ///< some 20 seconds: curves over all regimes
};

/// Rates with torch's current number of threads; each is the median of a few runs. Tensors together take at most about
/// `memory` bytes (>= 16 MiB). `process_overhead` and `contention` are left as they are by default.
[[nodiscard]] recipe::ComputeMeasurement measure_compute(Effort effort, Bytes memory);

/// Median seconds of one run after a first that makes buffers: at least three runs, then until `enough` has passed.
[[nodiscard]] Seconds median_seconds(const std::function<void()>& run, Seconds enough);

/// A product of a few milliseconds, to run over and over beside something else. Stays within 8 MiB.
void run_product();

}  // namespace sluice::train
