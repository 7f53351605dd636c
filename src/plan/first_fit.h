// The workspace's placement rule: lowest address that fits, neighbours merged on release. Run-time allocator and
// planner use this same class, so that the planner's replay of a trace gives the run's addresses exactly, fragmentation
// included.
#pragma once
#include <map>
#include <unordered_map>

#include "base/units.h"

namespace sluice::plan {

/// Offsets in [0, infinity); the owner decides what is too high. Sizes are rounded up to kAlignment. Not thread-safe.
class FirstFit {
 public:
  static constexpr Bytes kAlignment = 64;

  /// Lowest free offset for `bytes` > 0.
  Bytes allocate(Bytes bytes);
  /// Gives an offset from `allocate` back. InternalError when it is not allocated.
  void release(Bytes offset);
  /// End of the highest live allocation.
  [[nodiscard]] Bytes top() const noexcept { return top_; }
  /// Highest `top` since construction or the last `reset_peak`.
  [[nodiscard]] Bytes peak() const noexcept { return peak_; }
  void reset_peak() noexcept { peak_ = top_; }
  [[nodiscard]] Bytes live_bytes() const noexcept { return live_bytes_; }

 private:
  std::map<Bytes, Bytes> holes_;           // free ranges below top_: offset -> bytes
  std::unordered_map<Bytes, Bytes> live_;  // offset -> bytes
  Bytes top_ = 0, peak_ = 0, live_bytes_ = 0;
};

}  // namespace sluice::plan
