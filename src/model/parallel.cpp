#include "model/parallel.h"

#include <ATen/Parallel.h>

#ifndef _OPENMP
#error "compile with -fopenmp: without it this is a plain loop"
#endif

namespace sluice::model {

void parallel_ranges(std::int64_t count, std::int64_t grain,
                     c10::function_ref<void(std::int64_t first, std::int64_t last)> body) {
  at::parallel_for(0, count, grain, body);
}

double imbalance(std::int64_t count) {
  if (count <= 0) return 1;
  const std::int64_t num_threads = at::get_num_threads(), largest_share = (count + num_threads - 1) / num_threads;
  return static_cast<double>(largest_share * num_threads) / static_cast<double>(count);
}

}  // namespace sluice::model
