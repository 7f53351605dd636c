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

}  // namespace sluice::model
