#include "base/isa.h"

#include <algorithm>
#include <atomic>

namespace sluice {
namespace {

std::atomic<Isa> limit{Isa::Avx512Vbmi};

Isa detect() noexcept {
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512) return __builtin_cpu_supports("avx512vbmi") ? Isa::Avx512Vbmi : Isa::Avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::Avx2;
  return Isa::Baseline;
}

}  // namespace

Isa usable_isa() noexcept {
  static const Isa detected = detect();
  return std::min(detected, limit.load(std::memory_order_relaxed));
}

void limit_isa(Isa highest) noexcept { limit.store(highest, std::memory_order_relaxed); }

}  // namespace sluice
