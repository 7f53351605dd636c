// What memory is spent on: by kind of buffer, where an arena is fullest and over all places. For people; nothing is
// planned by it.
#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "plan/plan.h"

namespace sluice::plan {

/// What one arena holds at one action.
struct MemoryParts {
  std::map<BufferKind, Bytes> buffers = {};  ///< kinds that are there
  Bytes workspace = 0;
  [[nodiscard]] Bytes total() const;
};

/// At the action with the most in use, the first of several. The arena's peak may be higher by what lies unused between
/// buffers.
[[nodiscard]] MemoryParts parts_at_peak(const Plan& plan, int tier);

/// The most bytes of this kind that hold something needed later, at any action and wherever they are: what a kind costs
/// altogether. State counts always, at its size where it waits between periods; a gradient from its first sum to its
/// last reader, through the period's end if the next period reads it.
[[nodiscard]] Bytes most_alive(const Plan& plan, BufferKind kind);

/// Elements of the training state that a rank keeps, padding included, whatever format each is in.
struct StateElements {
  std::int64_t weights = 0;    ///< between computations
  std::int64_t gradients = 0;  ///< of trained chunks, once they are summed up over all ranks
  std::int64_t updated = 0;    ///< of trained chunks: those whose states are this rank's
  bool operator==(const StateElements&) const = default;
};
[[nodiscard]] StateElements state_elements(const Plan& train);

/// "weight 12.6 GiB, gradient 250 MiB, workspace 1.2 GiB": largest first.
[[nodiscard]] std::string describe_parts(const MemoryParts& parts);

}  // namespace sluice::plan
