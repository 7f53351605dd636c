// The nouns of a plan: buffers, actions, and the list that is simulated and executed. The plan is the only story:
// nothing else moves data.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/narrow.h"
#include "base/units.h"
#include "plan/machine.h"
#include "plan/sharding.h"

namespace sluice::plan {

enum class BufferKind {
  Weight,
  Moment,
  Gradient,
  Boundary,
  BoundaryGradient,
  Saved,
  Scratch,
  Cache,
  Gathered,
  Residual,
  Signs
};
[[nodiscard]] const char* name(BufferKind kind);

using BufferId = std::int32_t;

/// What tiers store and actions move: a contiguous range of bytes. A weight or gradient buffer is a whole chunk (or a
/// rank's shard of it), a moment buffer one slice of one moment of a chunk (or all of it), a boundary one block edge of
/// one micro-batch, a saved buffer one class of activations of one block and micro-batch, a scratch buffer what a
/// block's segments leave for those after them, a gathered buffer a chunk's weights made whole from the ranks' shards,
/// a residual what this rank has not sent of a chunk's gradients so far, a signs buffer what ranks send of one.
struct Buffer {
  BufferKind kind = BufferKind::Weight;
  int chunk = -1;                                    ///< Weight, Moment, Gradient, Gathered, Residual, Signs
  int moment = -1;                                   ///< Moment: which of the rule's states
  int slice = -1;                                    ///< Moment: which slice of the chunk; -1: all of it
  std::int64_t first_element = 0, num_elements = 0;  ///< range of the chunk, where it is of one
  /// The range is of the rank's own part of the chunk; `first_element` counts from that part's start until
  /// `take_shard` has made the plan a rank's.
  bool shard = false;
  int boundary = -1;                         ///< Boundary
  int micro_batch = -1;                      ///< Boundary, BoundaryGradient, Saved, Scratch
  int block = -1;                            ///< Saved, Scratch, Cache: whose
  int saved_class = -1;                      ///< Saved
  Bytes bytes = 0;                           ///< a multiple of 4096 (8192: of weights of 16 bits on disk alone)
  NumberFormat held = NumberFormat::Fp32;    ///< Weight: in arenas (Chunk::held)
  NumberFormat stored = NumberFormat::Fp32;  ///< Weight: on disk, where fewer bits may stand for an fp32 number
  bool persistent = false;                   ///< belongs to the training state: weights, moments, residuals
  /// Bytes of a copy on the disk tier, a multiple of 4096.
  [[nodiscard]] Bytes bytes_on_disk() const {
    return stored == held ? bytes : round_up(stored_bytes(stored, bytes / Bytes{sizeof(float)}), 4096);
  }
};

/// The closed set of things that can happen (design, section 1).
enum class ActionKind {
  Fetch,      ///< a copy of a buffer one tier up
  Evict,      ///< a clean copy is dropped
  WriteBack,  ///< a dirty copy goes one tier down
  Convert,
  Forward,        ///< of one block and micro-batch
  Backward,       ///< from saved activations, the others made again; for the loss block loss and gradients
  ReduceNorm,     ///< sum of squares of one chunk's gradient; after the last one the step's norm is known
  Update,         ///< the rule on one slice of one chunk, or one of its passes that measure before
  AllGather,      ///< a chunk's weights from the ranks' parts: {part, whole}, or in place
  ReduceScatter,  ///< a chunk's gradient, each rank its own part of the sum: {whole, part}, or in place; in 1 bit
                  ///< {..., signs, residual}, as AllReduce
  AllReduce,      ///< a chunk's gradient; without slots: ranks agree on norms and losses so far
  AllToAll,
  Broadcast,  ///< on the compute lane: sums over tensors that ranks divide, from the rank that finished them to all; of
              ///< tensors that updates need whole, directions that are orthogonal now, to those that have some of them
  Send,       ///< before it: sums that are not finished yet, to the next rank; directions, to the rank with their end
  Recv,       ///< before that: sums from the rank before
};
[[nodiscard]] const char* name(ActionKind kind);

/// A queue of its own in which actions run one after another.
enum class Lane { Compute, DiskRead, DiskWrite, HostToDevice, DeviceToHost, Communication };
inline constexpr int kNumLanes = 6;
[[nodiscard]] const char* name(Lane lane);

enum class Access { Read, Write, ReadWrite };  ///< Write: what was there before is dead (zeroed or overwritten first)

/// One buffer as one action sees it.
struct Slot {
  BufferId buffer = -1;
  int tier = 0;       ///< the place
  Bytes offset = -1;  ///< in that tier's arena; -1 on the disk tier, whose own table knows where
  Access access = Access::Read;
};

/// A skippable action keeps its slot in the plan; the step decides.
enum class SkipWhen {
  Never,
  NoUpdate,  ///< no gradient is pending (first step, after a flush) or the step is skipped (overflow)
  // Of updates alone, and known only in the period itself: moves beside them always run.
  BlockNotFinite,  ///< the norm of the gradients that became whole with this one's block is not finite
  StepNotFinite,   ///< the norm of all of the period's gradients is not finite
};

struct Dependency {
  std::int32_t action = -1;      ///< index in the same list
  bool previous_period = false;  ///< its run in the period before (nothing to wait for in the first)
};

struct Action {
  ActionKind kind = ActionKind::Forward;
  Lane lane = Lane::Compute;
  SkipWhen skip = SkipWhen::Never;
  int block = -1;        ///< Forward, Backward
  int micro_batch = -1;  ///< Forward, Backward
  int segment = -1;      ///< Forward, Backward: which part of the computation; -1: the whole
  int chunk = -1;        ///< ReduceNorm, Update
  int slice = -1;        ///< Update
  int pass = -1;         ///< Update, and exchanges of its sums: of a rule that measures first; the last one applies,
                         ///< and -1 is all of them, one after the other
  int repeat = 0;        ///< Forward, Backward: 1 when the step computes its gradients a second time
  Among among = Among::All;                ///< exchanges: the ranks that take part
  NumberFormat wire = NumberFormat::Fp32;  ///< exchanges: what is sent of each number; sums are made in fp32
  std::vector<Slot> slots;                 ///< Fetch and WriteBack: {from, to}
  Bytes workspace = 0;                     ///< bytes at the bottom of tier 0's arena that torch may use while it runs
  Bytes bytes = 0;                         ///< moved (movement actions) or touched (Update, ReduceNorm)
  Seconds duration = 0;                    ///< predicted, alone on its lane
  std::vector<Dependency> dependencies;
};

/// A buffer's stay in one arena: from the action that fills it to the last that uses it, wrapping round the period's
/// end when first > last. `offset` is fixed.
struct Residence {
  BufferId buffer = -1;
  int tier = 0;
  Bytes offset = 0;
  std::int32_t first = 0, last = 0;
};

/// Where a buffer is when a period starts (and, the same, when it ends).
struct EntryState {
  BufferId buffer = -1;
  int tier = 0;
  Bytes offset = -1;
  bool clean = false;  ///< the store holds the same bytes
};

enum class Variant { Train, Flush, Evaluate, Generate };
[[nodiscard]] const char* name(Variant variant);

/// One period as a list. Rows may belong to the step before (an update just before its next forward).
struct Plan {
  Variant variant = Variant::Train;
  std::vector<Buffer> buffers;
  std::vector<Action> actions;        ///< list order is a legal serial order; lanes keep it
  std::vector<Residence> residences;  ///< for checking and occupancy over time
  std::vector<EntryState> entry;      ///< persistent and pending buffers that start and end in an arena, one place each
  std::vector<Bytes> arena_peak;      ///< per tier: highest byte used (workspace included); disk: bytes stored
  Bytes workspace_peak = 0;           ///< most of tier 0's arena that torch uses
  int num_micro_batches = 1;
  int group_size = 1;       ///< micro-batches that go through all blocks together: 1 horizontal, all of them vertical
  int boundary_stride = 1;  ///< every so manieth boundary lasts to the backward; the others are made again
  Sharding sharding = {};   ///< between ranks, all of which play this list
  int rank = 0;             ///< whose `first_element`s these are, counted in its group
  bool loss_in_segments = false;             ///< the loss block's backward goes by segments
  std::vector<std::int64_t> slice_elements;  ///< per chunk: elements of its update slices (the last may be shorter)
  /// Per chunk: where its slices begin, where they follow its tensors and slice_elements is the longest; else empty.
  std::vector<std::vector<std::int64_t>> slice_starts;
};

}  // namespace sluice::plan
