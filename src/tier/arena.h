// The memory of one tier as one range of addresses: reserved once, never grown, so the budget is a physical cap.
// Offsets into it are the plan's business; the arena knows no buffers.
#pragma once
#include <cstddef>

#include "base/units.h"

namespace sluice::tier {

/// An anonymous private mapping of `capacity` bytes, 4096-aligned, zero-filled, faulted in page by page on first use
/// and without huge pages (so that resident memory is what was touched). Owns the mapping. Not thread-safe itself; the
/// bytes may be used by any thread.
class Arena {
 public:
  /// Throws CapacityError when the address range is refused (RLIMIT_AS, strict overcommit).
  explicit Arena(Bytes capacity);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] Bytes capacity() const noexcept { return capacity_; }
  /// Faults in [0, up_to) without changing its bytes, so that a lack of memory shows now. Throws CapacityError when
  /// this process may not use that much more (tier/limits.h) or the kernel has no page left.
  void touch(Bytes up_to);

 private:
  std::byte* data_ = nullptr;
  Bytes capacity_ = 0;
  Bytes touched_ = 0;
};

}  // namespace sluice::tier
