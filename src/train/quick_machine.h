// A forecast that is right from the start: where `sluice doctor` has not run, a second of measuring does its part.
#pragma once
#include "plan/machine.h"
#include "recipe/settings.h"

namespace sluice::train {

/// Where no machine file exists: measures this machine for about a second (and, with a spill folder that exists, its
/// disk), and keeps the result beside the place of the machine file, one file per processor, number of threads and
/// disk; later calls find it. Says so, and that doctor does better, on standard error. What cannot be measured or kept
/// leaves cautious rates. Memory is that of a few tensors within half of what `settings.host_memory` leaves,
/// for that second, in a child process: call it before this one has threads.
void measure_unknown_machine(const recipe::Settings& settings);

/// This machine as one of `ranks_per_node` processes has it, with the threads of `settings`: the machine file, else
/// what `measure_unknown_machine` kept, else cautious rates; its share of the cores' rates and of the disk's.
[[nodiscard]] plan::Machine known_machine(const recipe::Settings& settings, int ranks_per_node);

}  // namespace sluice::train
