// doctor, the engine's half: rates of the kernels that the planner prices, and how computing and the disk slow each
// other on this machine's cores.
#include <algorithm>
#include <chrono>

#include "base/log.h"
#include "recipe/machine_file.h"
#include "tier/measure.h"
#include "train/budget.h"
#include "train/compute_rates.h"
#include "train/verbs.h"

namespace sluice::train {
namespace {

constexpr Bytes kMemory = 512 * MiB;
constexpr Bytes kBesideSample = 256 * MiB;

double products_per_second() {
  run_product();
  const auto start = std::chrono::steady_clock::now();
  double seconds = 0, calls = 0;
  for (; seconds < 0.5; ++calls) {
    run_product();
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  return calls / seconds;
}

double share(double beside, double alone) { return alone > 0 ? std::clamp(beside / alone, 0.05, 1.0) : 1.0; }

// Alone before and after, so that a machine whose clock drifts is not taken for a slow disk.
plan::Contention measure_contention(const std::filesystem::path& folder) {
  log_info("measuring computing beside the disk");
  const double before = products_per_second();
  const tier::DiskRates beside = tier::measure_disk(folder, kBesideSample, run_product);
  const double alone = (before + products_per_second()) / 2;
  const tier::DiskRates quiet = tier::measure_disk(folder, kBesideSample);
  return {.compute_beside_read = share(beside.beside_read, alone),
          .compute_beside_write = share(beside.beside_write, alone),
          .compute_beside_both = share(beside.beside_both, alone),
          .read_beside_compute = share(beside.read, quiet.read),
          .write_beside_compute = share(beside.write, quiet.write)};
}

}  // namespace

int run_doctor_compute(const recipe::Settings& settings) {
  prepare_process(settings);
  const Bytes overhead = measure_budget(settings).overhead;  // before the measurements' own tensors
  recipe::ComputeMeasurement measured = measure_compute(Effort::Thorough, kMemory);
  measured.process_overhead = overhead;
  if (!settings.spill_dir.empty()) measured.contention = measure_contention(settings.spill_dir.front());
  recipe::write_compute_measurement(settings.json, measured);
  return 0;
}

}  // namespace sluice::train
