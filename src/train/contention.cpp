#include "train/contention.h"

#include <algorithm>
#include <chrono>

#include "train/compute_rates.h"

namespace sluice::train {
namespace {

double products_per_second() {
  run_product();
  const auto start = std::chrono::steady_clock::now();
  double seconds = 0, calls = 0;
  for (; seconds < 0.25; ++calls) {
    run_product();
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  return calls / seconds;
}

double share(double beside, double alone) { return alone > 0 ? std::clamp(beside / alone, 0.05, 1.0) : 1.0; }

}  // namespace

// Alone before and after, so that a machine whose clock drifts is not taken for a slow disk.
plan::Contention measure_contention(const std::filesystem::path& folder, Bytes bytes, const tier::DiskRates& quiet) {
  const double before = products_per_second();
  const tier::DiskRates beside = tier::measure_disk(folder, bytes, run_product);
  const double alone = (before + products_per_second()) / 2;
  return {.compute_beside_read = share(beside.beside_read, alone),
          .compute_beside_write = share(beside.beside_write, alone),
          .compute_beside_both = share(beside.beside_both, alone),
          .read_beside_compute = share(beside.read, quiet.read),
          .write_beside_compute = share(beside.write, quiet.write)};
}

}  // namespace sluice::train
