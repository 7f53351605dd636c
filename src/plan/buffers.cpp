#include "plan/buffers.h"

#include <algorithm>

#include "base/check.h"

namespace sluice::plan {
namespace {

constexpr Bytes kPage = 4096;
constexpr std::int64_t kSliceGranularity = 1 << 18;  // elements: one checksum stripe of the disk tier (1 MiB)
constexpr int kMostSlices = 32;

Buffer chunk_buffer(BufferKind kind, int chunk, std::int64_t first, std::int64_t count, bool persistent) {
  Buffer buffer;
  buffer.kind = kind;
  buffer.chunk = chunk;
  buffer.first_element = first;
  buffer.num_elements = count;
  buffer.bytes = round_up(count * Bytes{sizeof(float)}, kPage);
  buffer.persistent = persistent;
  return buffer;
}

}  // namespace

BufferTable::BufferTable(const StepTrace& trace, const Recipe& recipe, const StepChoices& choices) {
  for (int chunk = 0; chunk < static_cast<int>(trace.chunks.size()); ++chunk) {
    add_weights(trace, recipe, chunk);
    add_residual(trace, recipe, chunk);
    add_moments(trace, recipe, choices, chunk);
  }
  Bytes widest = 0;
  for (int b = 0; b < static_cast<int>(trace.boundary_bytes.size()); ++b) {
    widest = std::max(widest, trace.boundary_bytes[b]);
    auto& row = boundaries_.emplace_back();
    for (int m = 0; m < recipe.num_micro_batches; ++m) {
      row.push_back(add({.kind = BufferKind::Boundary,
                         .boundary = b,
                         .micro_batch = m,
                         .bytes = round_up(trace.boundary_bytes[b], kPage)}));
    }
  }
  for (int m = 0; m < recipe.num_micro_batches; ++m) {
    boundary_gradients_.push_back(
        add({.kind = BufferKind::BoundaryGradient, .micro_batch = m, .bytes = round_up(widest, kPage)}));
  }
  add_saved(trace, recipe, choices);
  for (int block = 0; block < static_cast<int>(trace.blocks.size()); ++block) {
    const Bytes bytes = round_up(trace.traces[trace.blocks[block].trace].scratch_bytes, kPage);
    auto& row = scratches_.emplace_back(recipe.num_micro_batches, -1);
    for (int m = 0; bytes > 0 && m < recipe.num_micro_batches; ++m)
      row[m] = add({.kind = BufferKind::Scratch, .micro_batch = m, .block = block, .bytes = bytes});
  }
  caches_.assign(trace.blocks.size(), -1);
  for (int block = 0; block < static_cast<int>(trace.cache_bytes.size()); ++block) {
    const Bytes bytes = round_up(trace.cache_bytes[block], kPage);
    if (bytes > 0) caches_[block] = add({.kind = BufferKind::Cache, .block = block, .bytes = bytes});
  }
}

// The weights that live across steps and the gradient; of divided ones the whole beside the rank's part, for as long as
// computations need it.
void BufferTable::add_weights(const StepTrace& trace, const Recipe& recipe, int chunk) {
  const Sharding& sharding = recipe.sharding;
  const bool trained = trace.chunks[chunk].trained;
  const std::int64_t elements = trace.chunks[chunk].num_elements;
  const std::int64_t own = sharding.elements_per_rank(elements);
  Buffer weight = chunk_buffer(BufferKind::Weight, chunk, 0, sharding.weights() ? own : elements, true);
  weight.shard = sharding.weights();
  const NumberFormat usual = trained ? recipe.rules[trace.chunks[chunk].rule].weights : recipe.frozen;
  weight.stored = trace.chunks[chunk].stored.value_or(usual);
  weight.held = trace.chunks[chunk].held;
  if (weight.held != NumberFormat::Fp32) {
    SLUICE_CHECK(!sharding.is_parallel(), "several ranks hold weights in fp32");
    weight.stored = weight.held;
    weight.bytes = round_up(stored_bytes(weight.held, elements), kPage);
  } else if (weight.stored != NumberFormat::Fp32) {
    weight.bytes = round_up(weight.bytes, 2 * kPage);
  }
  weights_.push_back(add(weight));
  if (sharding.weights()) gathered_.push_back(add(chunk_buffer(BufferKind::Gathered, chunk, 0, elements, false)));
  const Buffer gradient = chunk_buffer(BufferKind::Gradient, chunk, 0, elements, false);
  gradients_.push_back(trained ? add(gradient) : -1);
  if (sharding.fixed_order && recipe.num_micro_batches > 1) odd_gradients_.push_back(trained ? add(gradient) : -1);
  if (!sharding.gradients() && !sharding.fixed_order) return;
  Buffer part = chunk_buffer(BufferKind::Gradient, chunk, 0, elements / sharding.ranks_per_group(), false);
  part.shard = true;
  parts_.push_back(trained ? add(part) : -1);
  reduced_.push_back(!trained || sharding.gradients() ? parts_.back() : add(gradient));
}

// Signs of the whole: this rank's and, where each makes the whole sum, all others' beside them; else those that it gets
// for its part, which are as many again.
void BufferTable::add_residual(const StepTrace& trace, const Recipe& recipe, int chunk) {
  const bool keeps = recipe.keeps_residuals() && trace.chunks[chunk].trained;
  const std::int64_t elements = trace.chunks[chunk].num_elements;
  residuals_.push_back(keeps ? add(chunk_buffer(BufferKind::Residual, chunk, 0, elements, true)) : -1);
  Buffer signs = chunk_buffer(BufferKind::Signs, chunk, 0, elements, false);
  const int copies = recipe.sharding.states() ? 2 : recipe.sharding.num_ranks;
  signs.bytes = round_up(copies * stored_bytes(NumberFormat::OneBit, elements), kPage);
  signs_.push_back(keeps ? add(signs) : -1);
}

// Slices of `most` elements; or, where one rank has them, of as many whole tensors as that allows where updates need
// these. Where updates measure whole tensors first only those are cut that are longer, and share no slice: all passes
// over a slice of whole tensors follow each other, and its states move once.
void BufferTable::cut(const Chunk& chunk, const Recipe& recipe, std::int64_t most) {
  const std::int64_t own_elements = recipe.sharding.elements_per_rank(chunk.num_elements);
  own_elements_.push_back(own_elements);
  slice_elements_.push_back(most);
  num_slices_.push_back(chunk.trained ? static_cast<int>((own_elements + most - 1) / most) : 0);
  std::vector<std::int64_t>& starts = slice_starts_.emplace_back();
  const bool whole = updates_whole_tensors(chunk), measures = recipe.rules[chunk.rule].measuring_passes > 0;
  if (!chunk.trained || recipe.sharding.states() || (!whole && !measures)) return;
  bool divided = false;
  for (const ParameterSlot& parameter : chunk.parameters) {
    const std::int64_t end = parameter.first_element + parameter.num_elements;
    if (starts.empty() || divided || end - starts.back() > most) starts.push_back(parameter.first_element);
    divided = !whole && end - starts.back() > most;
    while (!whole && end - starts.back() > most) starts.push_back(starts.back() + most);
  }
  num_slices_.back() = static_cast<int>(starts.size());
  slice_elements_.back() = 0;
  for (int s = 0; s < num_slices_.back(); ++s)
    slice_elements_.back() =
        std::max(slice_elements_.back(), slice(static_cast<int>(slice_starts_.size()) - 1, s).count);
}

ElementRange BufferTable::slice(int chunk, int slice) const {
  const std::vector<std::int64_t>& starts = slice_starts_[chunk];
  const std::int64_t size = slice_elements_[chunk], end = own_elements_[chunk];
  if (starts.empty()) return {slice * size, std::min(size, end - slice * size)};
  const bool last = slice + 1 == static_cast<int>(starts.size());
  return {starts[slice], (last ? end : starts[slice + 1]) - starts[slice]};
}

void BufferTable::add_moments(const StepTrace& trace, const Recipe& recipe, const StepChoices& choices, int chunk) {
  const std::int64_t elements = recipe.sharding.elements_per_rank(trace.chunks[chunk].num_elements);
  const std::int64_t most =
      std::max<std::int64_t>(choices.slice_bytes / Bytes{sizeof(float)}, (elements + kMostSlices - 1) / kMostSlices);
  cut(trace.chunks[chunk], recipe, round_up(most, kSliceGranularity));
  auto& slices = moments_.emplace_back();
  const std::vector<StateBytes>& states = recipe.rules[trace.chunks[chunk].rule].states;
  num_moments_.push_back(static_cast<int>(states.size()));
  for (int s = 0; s < num_slices_.back(); ++s) {
    const ElementRange range = slice(chunk, s);
    for (int m = 0; m < num_moments_.back(); ++m) {
      const StateBytes& state = states[m];
      if (state.per_block == 0) {
        slices.push_back(s == 0 ? add_whole_moment(chunk, m, state.per_chunk[chunk]) : slices[m]);
        continue;
      }
      Buffer buffer = chunk_buffer(BufferKind::Moment, chunk, range.first, range.count, true);
      buffer.bytes = round_up((buffer.num_elements + kStateBlock - 1) / kStateBlock * state.per_block, kPage);
      buffer.moment = m;
      buffer.slice = s;
      buffer.shard = recipe.sharding.states();
      slices.push_back(add(buffer));
    }
  }
}

void BufferTable::add_saved(const StepTrace& trace, const Recipe& recipe, const StepChoices& choices) {
  saved_.assign(trace.blocks.size(), std::vector<std::vector<BufferId>>(recipe.num_micro_batches));
  for (int block = 0; block < static_cast<int>(choices.saved.size()); ++block) {
    const std::vector<Bytes>& bytes = trace.traces[trace.blocks[block].trace].saved_bytes;
    if (block < first_backward(trace)) continue;
    for (int m = 0; m < recipe.num_micro_batches; ++m) {
      for (int c = 0; c < static_cast<int>(bytes.size()); ++c) {
        if ((choices.saved[block] >> c & 1U) == 0) continue;
        saved_[block][m].push_back(add({.kind = BufferKind::Saved,
                                        .micro_batch = m,
                                        .block = block,
                                        .saved_class = c,
                                        .bytes = round_up(bytes[c], kPage)}));
      }
    }
  }
}

BufferId BufferTable::add_whole_moment(int chunk, int moment, Bytes bytes) {
  if (bytes == 0) return -1;
  return add({.kind = BufferKind::Moment,
              .chunk = chunk,
              .moment = moment,
              .bytes = round_up(bytes, kPage),
              .persistent = true});
}

BufferId BufferTable::add(Buffer buffer) {
  buffers_.push_back(buffer);
  return static_cast<BufferId>(buffers_.size()) - 1;
}

}  // namespace sluice::plan
