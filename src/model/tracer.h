// Traces a model's computations without memory: each distinct block runs once on meta tensors under recording
// allocators and an operator callback. The same recording on CPU tensors measures a block for real.
#pragma once
#include <c10/core/DeviceType.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "model/model.h"
#include "plan/trace.h"

namespace sluice::model {

/// Where a chunk's parameters lie: offsets multiples of 256 elements (Nf4: of a record), the chunk padded to whole pages
/// of whatever holds it.
[[nodiscard]] plan::Chunk chunk_layout(const ChunkSpec& spec);

/// What one step of `model` needs at `shape`, on at::get_num_threads() threads. Blocks with equal trace keys are traced
/// once. Throws ConfigError when the model has no positions for `seq_len` tokens. Not to be called while another thread
/// makes tensors: its allocations would be recorded too.
[[nodiscard]] plan::StepTrace trace_model(const Model& model, BatchShape shape);

/// Sizes of generation: positions that the caches have room for, and how many tokens one pass takes.
struct GenerationShape {
  std::int64_t max_length = 1;
  std::vector<std::int64_t> pass_tokens = {1};
};

/// What generation with `model` needs for one sequence: only the `generate` traces are there. A trace's allocations
/// hold for every position (Block::decode), its costs are those of the last one.
[[nodiscard]] plan::StepTrace trace_generation(const Model& model, const GenerationShape& shape);

/// Trace of one block: on c10::DeviceType::Meta without memory, or on CPU with real tensors and values.
[[nodiscard]] plan::BlockTrace trace_block(const Model& model, int block_index, BatchShape shape,
                                           c10::DeviceType device);

/// A block's backward with its forward made again, on real tensors, for whoever measures how long it takes.
struct PlayableBackward {
  std::function<void()> play;     ///< once; owns its tensors
  std::vector<plan::OpCost> ops;  ///< what one play costs
  Bytes peak = 0;                 ///< most bytes that one play allocates at once
};
[[nodiscard]] PlayableBackward make_playable_backward(const Model& model, int block_index, BatchShape shape);

/// Trace of one block's pass of `num_tokens` tokens from `position` on: only `generate` and `generate_segments`, an
/// entry each.
struct PassShape {
  std::int64_t max_length = 1, num_tokens = 1, position = 0;
};
[[nodiscard]] plan::BlockTrace trace_pass(const Model& model, int block_index, PassShape shape, c10::DeviceType device);

}  // namespace sluice::model
