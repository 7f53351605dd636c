// doctor, the engine's half: rates of the kernels that the planner prices, and how computing and the disk slow each
// other on this machine's cores.
#include "base/log.h"
#include "recipe/machine_file.h"
#include "tier/measure.h"
#include "train/budget.h"
#include "train/compute_rates.h"
#include "train/contention.h"
#include "train/verbs.h"

namespace sluice::train {

int run_doctor_compute(const recipe::Settings& settings) {
  constexpr Bytes kMemory = 512 * MiB, kDiskSample = 256 * MiB;
  prepare_process(settings);
  log_info("measuring computations");
  recipe::ComputeMeasurement measured = measure_compute(Effort::Thorough, kMemory);
  measured.process_overhead = process_overhead(true);  // the library's buffers are as large as they get
  if (!settings.spill_dir.empty()) {
    log_info("measuring computing beside the disk");
    const std::string& folder = settings.spill_dir.front();
    measured.contention = measure_contention(folder, kDiskSample, tier::measure_disk(folder, kDiskSample));
  }
  recipe::write_compute_measurement(settings.json, measured);
  return 0;
}

}  // namespace sluice::train
