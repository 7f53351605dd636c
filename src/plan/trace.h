// What one training step of a model needs, measured without memory: blocks, chunks, and for each distinct block what
// its computations allocate, save and cost. Made by model/tracer.h on meta tensors; the planner reads nothing else of a
// model.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/units.h"

namespace sluice::plan {

/// One allocation or release inside a computation, in the order in which the run-time allocator sees it.
/// Ids are local to one BlockTrace: what `forward_keep` leaves allocated is released by `backward_kept` under the same
/// id.
struct AllocationEvent {
  std::int32_t id = 0;
  Bytes bytes = 0;  ///< > 0: allocation of that many bytes (already rounded as the allocator rounds); 0: release
};

enum class OpClass { MatMul, Attention, Memory };  ///< what bounds an operator: matrix units or memory

/// Cost of one operator call. `m`, `n`, `k` are set for MatMul (m x k times k x n, batch folded into m).
struct OpCost {
  OpClass kind = OpClass::Memory;
  Flops flops = 0;
  Bytes bytes = 0;  ///< read plus written
  std::int64_t m = 0, n = 0, k = 0;
};

/// One computation (forward, or backward) of one block for one micro-batch.
struct ComputeTrace {
  std::vector<AllocationEvent> events;
  std::vector<OpCost> ops;
  Bytes peak = 0;  ///< most bytes live at once, above what was live at its start
  Bytes left = 0;  ///< bytes still live at its end (what is saved for the backward)
};

/// All computations of one distinct block at one batch shape. The boundary output and gradients are copied into planned
/// buffers, so only saved activations stay allocated between computations.
struct BlockTrace {
  ComputeTrace forward;        ///< nothing saved
  ComputeTrace forward_keep;   ///< activations saved for backward_kept
  ComputeTrace backward_kept;  ///< from saved activations
  ComputeTrace
      backward_recompute;  ///< forward again, then backward; all that a loss block has (loss and gradients in one)
  ComputeTrace evaluate;   ///< what evaluation runs: forward, or the loss alone for a loss block
  std::vector<ComputeTrace> generate;  ///< one pass of generation; per StepTrace::pass_tokens
};

/// A parameter inside its chunk.
struct ParameterSlot {
  std::string name;
  std::vector<std::int64_t> shape;
  std::int64_t first_element = 0;  ///< a multiple of 16 elements: every view starts on 64 bytes
  std::int64_t num_elements = 0;
};

/// One parameter group of one block: the unit of storage. Elements are fp32; chunk sizes are multiples of 4096 bytes.
struct Chunk {
  std::string name;
  std::vector<ParameterSlot> parameters;
  std::int64_t num_elements = 0;  ///< padding included
  bool trained = true;
};

/// A block: which chunks it reads (and, when trained, adds gradients to) and which boundaries it reads and writes.
struct Block {
  std::string name;
  int trace = 0;            ///< index into StepTrace::traces
  std::vector<int> chunks;  ///< the block's own first; a tied chunk stands in both of its users
  int reads = -1;           ///< boundary read, -1: only the batch
  int writes = -1;          ///< boundary written, -1: it ends in the loss
};

/// A whole model at one batch shape, for training and evaluation or for generation.
struct StepTrace {
  std::vector<Block> blocks;  ///< in forward order; the last one computes the loss
  std::vector<Chunk> chunks;
  std::vector<BlockTrace> traces;
  std::vector<Bytes> boundary_bytes;  ///< per boundary and micro-batch
  std::int64_t tokens_per_micro_batch = 0;
  std::vector<std::int64_t> pass_tokens;  ///< generation: how many tokens pass at once, one plan each; else empty
  std::vector<Bytes> cache_bytes;         ///< generation: per block keys and values; of the loss block its logits
  [[nodiscard]] std::int64_t num_parameters() const;  ///< real elements, padding left out, tied chunks once
};

}  // namespace sluice::plan
