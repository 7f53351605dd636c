// One training step as rows, before anything is moved: which computation touches which buffer, where, and in which
// order. `step.cpp` is the page to read; residency, movement and placement only answer "where is it" and "since when".
#pragma once
#include <span>
#include <vector>

#include "plan/plan.h"
#include "plan/trace.h"

namespace sluice::plan {

enum class UpdateWhen {
  Backward,     ///< right after the block's backward (no global norm needed)
  NextForward,  ///< just before the block's next forward, once the step's norm is known
  SecondPass,   ///< forward and backward run twice: once for the norm alone, then as with Backward
  Sweep,        ///< all blocks one after the other, once all gradients are there
};

inline constexpr std::int64_t kStateBlock = 256;  ///< elements; slices and chunks are multiples of it

/// The bytes of one state of the update rule.
struct StateBytes {
  Bytes per_block = kStateBlock * Bytes{sizeof(float)};  ///< for every kStateBlock elements, in slices; or 0, and
  std::vector<Bytes> per_chunk = {};                     ///< a state so small that each chunk has one buffer of it
};

/// What the plan must know of one update rule.
struct RuleNeeds {
  NumberFormat weights = NumberFormat::Fp32;  ///< of its chunks on disk; in arenas as Chunk::held says
  std::vector<StateBytes> states = {};
  int measuring_passes = 0;  ///< over all of a chunk before its update, which then is the last pass
  /// So many states, the first ones, are changed by the last of these passes, which leaves what the update needs of
  /// them in the gradient's place.
  int advanced_states = 0;
};

/// What the plan must know of the training recipe.
struct Recipe {
  int num_micro_batches = 1;
  int num_evaluated = 1;  ///< micro-batches that an Evaluate period takes through each block; at most the above
  NumberFormat frozen = NumberFormat::Fp32;               ///< of frozen chunks on disk
  std::vector<RuleNeeds> rules = {{.states = {{}, {}}}};  ///< Chunk::rule counts them
  UpdateWhen update = UpdateWhen::NextForward;
  bool clamps = false;                       ///< updates cut the gradient's elements in place
  Sharding sharding = {};                    ///< num_micro_batches are those of one rank
  NumberFormat reduce = NumberFormat::Fp32;  ///< what ranks send of each gradient
  /// OneBit: each rank keeps what it has not sent of its gradients. Not in the fixed order, in groups or with a second
  /// pass.
  [[nodiscard]] bool keeps_residuals() const { return reduce == NumberFormat::OneBit && sharding.num_ranks > 1; }
};

/// Choices that change memory and time but never a bit of the result.
struct StepChoices {
  std::vector<SavedMask> saved = {};  ///< per block: what its forwards save; empty: nothing anywhere
  bool hold_saved = false;            ///< what is saved waits in tier 0
  Bytes slice_bytes = 4 * MiB;        ///< moments are updated in slices of at most this
  int group_size = 1;       ///< micro-batches that go through all blocks together: 1 horizontal, all of them vertical
  int boundary_stride = 1;  ///< every so manieth boundary lasts to the backward, which makes the others again
  /// The loss block's backward goes by its segments: their weights and gradients need not be in memory together, but
  /// logits are made twice. What costs nothing goes by segments always.
  bool loss_in_segments = false;
  bool overlap = true;      ///< of several ranks: their exchanges run one block beside the computation (overlap.h)
  bool hold_entry = false;  ///< Evaluate, Generate: what waits in an arena between periods stays there in them too
  int pass = 0;             ///< Generate: not chosen but asked for, the index into StepTrace::pass_tokens
};

struct Use {
  BufferId buffer = -1;
  int tier = 0;
  Access access = Access::Read;
  bool clean = false;         ///< of an entry row: the store holds the same bytes
  bool hold_to_next = false;  ///< it must not move before its next use
  int hold_tier = 0;          ///< with hold_to_next: a lower tier where it waits instead
};

/// Which computation an exchange of ranks, an update or a norm belongs to: the next one below, the last one above, or
/// it stands where it stands.
enum class Serves { Itself, Next, Last };

struct Row {
  ActionKind kind = ActionKind::Forward;
  Lane lane = Lane::Compute;
  Serves serves = Serves::Itself;
  SkipWhen skip = SkipWhen::Never;
  int block = -1, micro_batch = -1, segment = -1, chunk = -1, slice = -1, pass = -1;
  int repeat = 0;  ///< Action::repeat
  std::vector<Use> uses = {};
  const ComputeTrace* compute = nullptr;  ///< Forward, Backward; lives in the StepTrace
  /// Update, and the Broadcast that stands for it where ranks divide tensors: of those that are needed whole, one after
  /// the other.
  std::vector<const ComputeTrace*> of_tensors = {};
  Bytes put_together = 0;    ///< workspace beside each of them, for a tensor of which other ranks have some
  Among among = Among::All;  ///< Action::among
  NumberFormat wire = NumberFormat::Fp32;  ///< Action::wire
  /// Touched by Update and ReduceNorm, or sent to other ranks; of a Recv on the compute lane, what the rank before it
  /// touches first.
  Bytes bytes = 0;
};

struct StepRows {
  Variant variant = Variant::Train;
  std::vector<Buffer> buffers;  ///< the same ids in every variant of the same choices
  std::vector<Row> rows;
  std::vector<std::int64_t> slice_elements;             ///< per chunk
  std::vector<std::vector<std::int64_t>> slice_starts;  ///< per chunk, as Plan has them
};

/// The rows of one variant. A variant other than Train is no cycle: it begins and ends in `entry`, which stands as a
/// first and a last row of kind Evict that touch every buffer of `entry` (and emit no action). `update_tier` is the
/// machine's place for updates. Pure.
[[nodiscard]] StepRows emit_rows(Variant variant, const StepTrace& trace, const Recipe& recipe,
                                 const StepChoices& choices, int update_tier, std::span<const EntryState> entry = {});

}  // namespace sluice::plan
