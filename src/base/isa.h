// One binary, several instruction sets: a loop written once is compiled for each and the widest that this processor has
// runs. Loops use explicit std::fma and no reassociation, so every version gives the same bits; tests compare them.
#pragma once
#include <cstddef>

namespace sluice {

/// Avx512Vbmi: and bytes looked up in registers, which few loops of their own use.
enum class Isa { Baseline, Avx2, Avx512, Avx512Vbmi };

/// The widest set that this processor has, or the limit if that is lower.
Isa usable_isa() noexcept;

/// Caps `usable_isa` (tests and benchmarks).
void limit_isa(Isa highest) noexcept;

// Loop: a class with `[[gnu::always_inline]] void operator()(std::size_t count) const`, so that its body is compiled
// anew inside each of these.
template <typename Loop>
[[gnu::noinline, gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]] void run_avx512(const Loop& loop,
                                                                                     std::size_t count) {
  loop(count);
}
template <typename Loop>
[[gnu::noinline, gnu::target("avx2,fma")]] void run_avx2(const Loop& loop, std::size_t count) {
  loop(count);
}
template <typename Loop>
[[gnu::noinline]] void run_baseline(const Loop& loop, std::size_t count) {
  loop(count);
}

/// Runs `loop` over `count` elements with the widest usable instructions.
template <typename Loop>
void run_widest(const Loop& loop, std::size_t count) {
  switch (usable_isa()) {
    case Isa::Avx512Vbmi:
    case Isa::Avx512:
      return run_avx512(loop, count);
    case Isa::Avx2:
      return run_avx2(loop, count);
    case Isa::Baseline:
      return run_baseline(loop, count);
  }
}

}  // namespace sluice
