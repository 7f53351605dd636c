// How data-parallel ranks divide a model's training state: ZeRO's stages. All ranks play the same list of actions; what
// differs is which part of each chunk is theirs.
#pragma once
#include <cstdint>

#include "base/units.h"

namespace sluice::plan {

struct Buffer;
struct PlanSet;
struct StepTrace;
struct Plan;

/// Which ranks an exchange joins: those that divide the state among them, or those that hold the same part of it.
enum class Among { All, Group, Replicas };
[[nodiscard]] const char* name(Among among);

/// ZeRO's stages: 0 nothing is divided, 1 states, 2 gradients too, 3 weights too. A rank's part of a chunk is one
/// contiguous range, rank 0's the first. Ranks may divide the state in groups, each of which holds all of it: MiCS
/// (arXiv:2205.00119), FSDP's HYBRID_SHARD. Group g is ranks g*group_size ... (g+1)*group_size - 1.
struct Sharding {
  int num_ranks = 1;
  int stage = 0;
  int group_size = 0;  ///< divides num_ranks; 0: one group of all
  /// Gradients are added up micro-batch by micro-batch in one order, whatever the number of ranks; micro-batch m of
  /// rank r is number m * num_ranks + r. One rank then plays the same rows, alone. Not in groups.
  bool fixed_order = false;
  [[nodiscard]] bool is_parallel() const { return num_ranks > 1 || fixed_order; }
  [[nodiscard]] int ranks_per_group() const { return group_size > 0 ? group_size : num_ranks; }
  [[nodiscard]] int num_groups() const { return num_ranks / ranks_per_group(); }
  [[nodiscard]] bool is_grouped() const { return num_groups() > 1; }
  [[nodiscard]] int members(Among among) const {
    return among == Among::All ? num_ranks : among == Among::Group ? ranks_per_group() : num_groups();
  }
  [[nodiscard]] bool states() const { return is_parallel() && stage >= 1; }
  /// Whether updates read the rank's part of a gradient alone (where they read less of it than there is, else).
  [[nodiscard]] bool gradients() const { return is_parallel() && stage >= (fixed_order ? 1 : 2); }
  [[nodiscard]] bool weights() const { return is_parallel() && stage >= 3; }
  /// Elements of a rank's part of the states of a chunk of `num_elements`.
  [[nodiscard]] std::int64_t elements_per_rank(std::int64_t num_elements) const {
    return states() ? num_elements / ranks_per_group() : num_elements;
  }
  bool operator==(const Sharding&) const = default;
};

/// Every part begins at a multiple of this many elements: a block of the gradient norm, whole pages in fp32 and 16
/// bits.
inline constexpr std::int64_t kShardGranularity = 4096;

/// Lengthens every chunk (with padding) so that the ranks' parts are equal and whole multiples of kShardGranularity.
/// Nothing is changed where neither states nor sums are divided.
void pad_for_shards(StepTrace& trace, const Sharding& sharding);

/// Makes the plans those of `rank` of the run: its buffers' elements count from the start of their chunks. Once.
void take_shard(PlanSet& plans, int rank);

struct ElementRange {
  std::int64_t first = 0, count = 0;
};
/// The elements of a chunk of `num_elements` whose states are the rank's, and of them one update slice.
[[nodiscard]] ElementRange own_range(const Plan& plan, std::int64_t num_elements);
[[nodiscard]] ElementRange slice_range(const Plan& plan, int chunk, int slice, std::int64_t num_elements);

/// Bytes that a rank sends to others in a period, from the list alone: to all of them, or to those that `among` names.
[[nodiscard]] Bytes bytes_sent(const Plan& plan);
[[nodiscard]] Bytes bytes_sent(const Plan& plan, Among among);

/// A number that tells lists apart: equal for plans that do the same at the same places.
[[nodiscard]] std::uint64_t digest(const PlanSet& plans);

}  // namespace sluice::plan
