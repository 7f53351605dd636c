// Where torch's temporaries on a device lie: what the plan has foreseen in the workspace, by the rule with which it was
// foreseen, and what libraries take besides in a pool of fixed size. Neither grows, so the device's cap is physical.
#pragma once
#include <cstddef>
#include <mutex>

#include "plan/first_fit.h"

namespace sluice::tier {

/// Hands out addresses and never looks at what is there. Thread-safe. Computations of one stream alone use it: memory
/// that is given back may be handed out at once.
class DeviceWorkspace {
 public:
  /// Begins every allocation, in the pool and in the workspace: what matrix libraries want.
  static constexpr Bytes kAlignment = 256;

  /// `pool` serves all until a workspace is given.
  DeviceWorkspace(std::byte* pool, Bytes capacity);
  /// From now on [base, base + capacity) comes first; nullptr: the pool alone. InternalError while something is there.
  void use(std::byte* base, Bytes capacity);
  /// The pool alone, whatever is in the workspace: its memory goes.
  void forget();
  /// What would end above `bytes` from the base goes into the pool.
  void limit(Bytes bytes);

  /// nullptr for 0 bytes. Throws CapacityError when both are full.
  std::byte* allocate(Bytes bytes);
  /// nullptr: nothing to give back.
  void release(std::byte* memory);

  /// Highest end since `use`, in bytes from the base.
  [[nodiscard]] Bytes peak() const;
  /// Highest end in the pool.
  [[nodiscard]] Bytes pool_peak() const;

 private:
  struct Region {
    std::byte* base = nullptr;
    Bytes capacity = 0, limit = 0, peak = 0;
    plan::FirstFit placement;
    std::byte* take(Bytes bytes);
    [[nodiscard]] bool holds(const std::byte* memory) const {
      return base != nullptr && memory >= base && memory < base + capacity;
    }
  };
  mutable std::mutex mutex_;
  Region pool_, workspace_;
};

}  // namespace sluice::tier
