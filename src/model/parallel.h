// Dealing work out to torch's threads. at::parallel_for in a header is compiled as a plain loop wherever OpenMP is not
// switched on; parallel.cpp is the one file that switches it on (libgomp is torch's own).
#pragma once
#include <c10/util/FunctionRef.h>

#include <cstdint>

namespace sluice::model {

/// body(first, last) for ranges that together are [0, count), at least `grain` long (but one), on as many of
/// at::get_num_threads() threads as there are ranges; returns when all have returned. at::get_thread_num() tells them
/// apart. Called from inside such a body it runs on the calling thread. An exception of a body is thrown here.
void parallel_ranges(std::int64_t count, std::int64_t grain,
                     c10::function_ref<void(std::int64_t first, std::int64_t last)> body);

/// Time of `count` equal parts dealt out by `parallel_ranges` one by one, over that of the same work spread evenly over
/// at::get_num_threads() threads: 4/3 for three parts on two threads. At least 1.
[[nodiscard]] double imbalance(std::int64_t count);

}  // namespace sluice::model
