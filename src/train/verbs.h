// The verbs that need the engine: each takes the resolved settings and returns the exit code of the program. Results go
// to standard output or to files that the settings name; failures are the exceptions of base/error.h.
#pragma once
#include "recipe/settings.h"

namespace sluice::train {

int run_train(const recipe::Settings& settings);
int run_plan(const recipe::Settings& settings);
int run_eval(const recipe::Settings& settings);
int run_tasks(const recipe::Settings& settings);  ///< `eval` with --tasks
int run_sample(const recipe::Settings& settings);
int run_export(const recipe::Settings& settings);

/// Measures this machine's kernels and the process's own memory with `settings.threads` threads and, with a
/// `settings.spill_dir`, how computing and the disk slow each other; writes it to `settings.json`
/// (recipe::write_compute_measurement).
int run_doctor_compute(const recipe::Settings& settings);

}  // namespace sluice::train
