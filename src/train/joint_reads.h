// What no rank holds whole is read by rank 0 with the help of all: each adds what it has.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "train/ranks.h"

namespace sluice::train {

/// Puts what this rank holds of item `index`, bytes for elements from `first` on, into memory that is zero.
using FillOwn = std::function<void(std::int64_t index, std::int64_t first, std::span<std::byte> into)>;

/// Rank 0 reads while the others serve. Collective, one thread.
class JointReads {
 public:
  JointReads(const Ranks& ranks, FillOwn fill) : ranks_(ranks), fill_(std::move(fill)) {}

  /// On rank 0: all ranks' parts together.
  void read(std::int64_t index, std::int64_t first, std::span<std::byte> into) const;
  /// On rank 0, at the end: the others return, or with `failed` throw CommError.
  void finish(bool failed) const;
  /// On the others, until rank 0 finishes. `memory` is at least as large as anything that rank 0 reads at once.
  void serve(std::span<std::byte> memory) const;

 private:
  const Ranks& ranks_;
  const FillOwn fill_;
};

}  // namespace sluice::train
