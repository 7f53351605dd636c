// What one training step of a model needs, measured without memory: blocks, chunks, and for each distinct block what
// its computations allocate, save and cost. Made by model/tracer.h on meta tensors; the planner reads nothing else of a
// model.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/narrow.h"
#include "base/units.h"

namespace sluice::plan {

/// One allocation or release inside a computation, in the order in which the run-time allocator sees it.
struct AllocationEvent {
  std::int32_t id = 0;  ///< allocations count 0, 1, ... in their order
  Bytes bytes = 0;      ///< > 0: allocation of that many bytes (already rounded as the allocator rounds); 0: release
};

/// What bounds an operator: matrix units or memory. NarrowMatMul multiplies bf16 numbers and sums in fp32.
enum class OpClass { MatMul, NarrowMatMul, Attention, AttentionBackward, Memory };

/// Cost of one operator call. `m`, `n`, `k` are set for products (m x k times k x n, batch folded into m) and attention
/// (m positions, n heads of all sequences, k elements per head).
struct OpCost {
  OpClass kind = OpClass::Memory;
  Flops flops = 0;
  Bytes bytes = 0;  ///< read plus written
  std::int64_t m = 0, n = 0, k = 0;
  double imbalance = 1;  ///< how much longer products and attention take because threads get unequal shares
};

/// An allocation of a forward that is saved for the backward: it lives in the buffer of its class from the start.
struct SavedAllocation {
  std::int32_t id = 0;  ///< of its event
  int saved_class = 0;
  Bytes offset = 0;  ///< in the class's buffer, a multiple of 64
};

/// One computation (forward, or backward) of one block for one micro-batch. Only what is saved outlives it.
struct ComputeTrace {
  std::vector<AllocationEvent> events;
  std::vector<OpCost> ops;
  std::vector<SavedAllocation> saved = {};  ///< of a forward, by id
};

/// A set of a block's classes of saved activations, a bit per class.
using SavedMask = std::uint32_t;

/// A part of a computation that needs only some of the block's chunks.
struct SegmentTrace {
  std::vector<int> chunks;           ///< whose weights it reads: positions in Block::chunks
  std::vector<int> gradient_chunks;  ///< to whose gradients it adds
  ComputeTrace compute;
};

/// All computations of one distinct block at one batch shape. Boundaries, their gradients and saved activations are
/// planned buffers, so nothing else stays allocated between computations.
struct BlockTrace {
  std::vector<std::string> saved_classes;  ///< names; a class is saved as a whole or made again by the backward
  std::vector<Bytes> saved_bytes;          ///< per class: its buffer, for one micro-batch
  std::vector<ComputeTrace> forward;       ///< per mask of what is saved; none for a loss block
  std::vector<ComputeTrace> backward;  ///< per mask of what was saved; a loss block's only one is loss and gradients
  ComputeTrace evaluate;               ///< what evaluation runs: forward, or the loss alone for a loss block
  [[nodiscard]] SavedMask all_classes() const { return (SavedMask{1} << saved_classes.size()) - 1; }
  std::vector<ComputeTrace> generate;  ///< one pass of generation; per StepTrace::pass_tokens
  /// The same computations (those that save nothing) in segments, where the block has any: the same bits.
  std::vector<SegmentTrace> forward_segments, backward_segments, evaluate_segments;
  std::vector<std::vector<SegmentTrace>> generate_segments;
  Bytes scratch_bytes = 0;  ///< per micro-batch: what segments leave for those after them
};

/// A parameter inside its chunk.
struct ParameterSlot {
  std::string name;
  std::vector<std::int64_t> shape;
  std::int64_t first_element = 0;  ///< a multiple of 256 elements (Nf4: of a record): no block is cut
  std::int64_t num_elements = 0;
  std::int64_t part_of_tensor = 0;  ///< element of the published tensor where this part of it begins
  std::int64_t num_joined = 1;      ///< so many linear maps' matrices stand side by side in it, of equal width
  int update = -1;                  ///< what an update computes of the whole tensor: StepTrace::updates; -1: nothing
};

/// One parameter group of one block: the unit of storage. Elements are fp32 numbers; chunk sizes are multiples of 2048
/// of them.
struct Chunk {
  std::string name;
  std::vector<ParameterSlot> parameters;
  std::int64_t num_elements = 0;            ///< padding included
  bool trained = true;                      ///< false: frozen, has no gradient, no moments and is never written back
  int rule = 0;                             ///< which of the run's update rules is its own
  std::optional<NumberFormat> stored = {};  ///< how it is stored, if not as the recipe says
  /// How its weights stand in arenas. If not in fp32, then on disk as well.
  NumberFormat held = NumberFormat::Fp32;
};

/// A block: which chunks it reads (and, when trained, adds gradients to) and which boundaries it reads and writes.
struct Block {
  std::string name;
  int trace = 0;            ///< index into StepTrace::traces
  std::vector<int> chunks;  ///< the block's own first; a tied chunk stands in both of its users
  int reads = -1;           ///< boundary read, -1: only the batch
  int writes = -1;          ///< boundary written, -1: it ends in the loss
};

/// A tensor as files know it: the parts of one name, in the order of their chunks.
struct PublishedTensor {
  struct Part {
    int chunk = 0, parameter = 0;
    std::int64_t first_element = 0, num_elements = 0;  ///< in the chunk
  };
  std::string name;
  std::vector<std::int64_t> shape;
  std::vector<Part> parts;
};
[[nodiscard]] std::vector<PublishedTensor> published_tensors(std::span<const Chunk> chunks);

/// A whole model at one batch shape, for training and evaluation or for generation.
struct StepTrace {
  std::vector<Block> blocks;  ///< in forward order; the last one computes the loss
  std::vector<Chunk> chunks;
  std::vector<BlockTrace> traces;
  std::vector<ComputeTrace> updates = {};  ///< what updates compute beside their loops, of tensors that they need whole
  std::vector<Bytes> boundary_bytes;       ///< per boundary and micro-batch
  std::int64_t tokens_per_micro_batch = 0;
  std::vector<std::int64_t> pass_tokens;  ///< generation: how many tokens pass at once, one plan each; else empty
  std::vector<Bytes> cache_bytes;         ///< generation: per block keys and values; of the loss block its logits
  [[nodiscard]] std::int64_t num_parameters() const;   ///< real elements, padding left out, tied chunks once
  [[nodiscard]] std::int64_t num_trained() const;      ///< of them those of chunks that are trained
  [[nodiscard]] std::int64_t largest_trained() const;  ///< elements of the largest trained tensor, all pieces of it
};

/// Whether the chunk's updates need any of its tensors whole: then no slice cuts a tensor.
[[nodiscard]] bool updates_whole_tensors(const Chunk& chunk);

/// The lowest block with a trained chunk, where backwards end: below it no gradient is wanted. The number of blocks
/// when everything is frozen.
[[nodiscard]] int first_backward(const StepTrace& trace);

}  // namespace sluice::plan
