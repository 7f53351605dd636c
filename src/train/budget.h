// The budget is the whole process. What libraries, stacks and I/O need is measured in this process after its kernels
// have run once on every thread; the arena gets the rest.
#pragma once
#include "base/units.h"
#include "plan/trace.h"
#include "recipe/settings.h"

namespace sluice::train {

struct Budget {
  Bytes process = 0;   ///< what the user allowed for everything (--host-memory)
  Bytes overhead = 0;  ///< what the process needs beside the arenas
  Bytes device = 0;    ///< memory of an emulated device, in RAM on top of `process`
  [[nodiscard]] Bytes arena() const { return process - overhead; }  ///< the host's
  [[nodiscard]] Bytes all() const { return process + device; }
};

/// Installs the CPU allocator, sets the number of threads and runs every kernel that training uses once. Before the
/// first tensor; once per process.
void prepare_process(const recipe::Settings& settings);

/// Runs every matrix product of the trace once, on zeros: the library keeps buffers whose sizes follow from the shapes.
/// Takes, for a moment, less memory than a step will.
void warm_products(const plan::StepTrace& trace);
/// Most bytes that `warm_products` takes at once.
[[nodiscard]] Bytes warming_bytes(const plan::StepTrace& trace);

/// What this process needs beside the arenas as it is now, with room for what appears only while training (more if
/// there is a disk tier).
[[nodiscard]] Bytes process_overhead(bool with_disk);

/// The same once the plan is made, nearer to the truth: most of what appears later is there. Before arenas are touched.
[[nodiscard]] Bytes settled_overhead(bool with_disk);

/// What a store takes besides to write weights of 16 bits; 0 where it never does.
[[nodiscard]] Bytes narrow_staging(const recipe::Settings& settings, bool has_store);

/// What weights that wait packed in RAM take beside them.
[[nodiscard]] Bytes packed_overhead(const recipe::Settings& settings);

/// Reads the process and the limits of the machine. Call when what lives beside the arena is there (data opened,
/// tokenizer gone). Throws CapacityError when the process alone is over the budget.
[[nodiscard]] Budget measure_budget(const recipe::Settings& settings);

}  // namespace sluice::train
