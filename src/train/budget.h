// The budget is the whole process. What libraries, stacks and I/O need is measured in this process after its kernels
// have run once on every thread; the arena gets the rest.
#pragma once
#include "base/units.h"
#include "recipe/settings.h"

namespace sluice::train {

struct Budget {
  Bytes process = 0;   ///< what the user allowed for everything
  Bytes overhead = 0;  ///< what the process needs beside the arena
  [[nodiscard]] Bytes arena() const { return process - overhead; }
};

/// Installs the CPU allocator, sets the number of threads and runs every kernel that training uses once. Before the
/// first tensor; once per process.
void prepare_process(const recipe::Settings& settings);

/// Reads the process and the limits of the machine. Call when what lives beside the arena is there (data opened,
/// tokenizer gone). Throws CapacityError when the process alone is over the budget.
[[nodiscard]] Budget measure_budget(const recipe::Settings& settings);

}  // namespace sluice::train
