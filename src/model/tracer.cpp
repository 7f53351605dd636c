#include "model/tracer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/nf4.h"
#include "model/compute.h"
#include "model/held_weight.h"
#include "model/init.h"
#include "model/op_cost.h"
#include "model/place.h"
#include "model/saved_layout.h"
#include "model/trace_recorder.h"

namespace sluice::model {
namespace {

constexpr std::int64_t kElementsPerBlock = 256;  // of states in 8 bits and of whole-tensor sums
constexpr std::int64_t kElementsPerPage = 2048;  // 4096 bytes of 16 bits, 8192 of fp32; twice as many of 8 bits

void fill_parameter(const ParameterSpec& spec, const plan::ParameterSlot& place, const at::Tensor& held) {
  const NumberFormat format = held_format(held.scalar_type());
  auto* const memory = static_cast<std::byte*>(held.mutable_data_ptr());
  std::vector<float> numbers(static_cast<std::size_t>(place.num_elements));
  init_parameter(spec, 0, place.part_of_tensor, numbers);
  if (format == NumberFormat::Fp32) {
    std::memcpy(memory, numbers.data(), numbers.size() * sizeof(float));
  } else {
    narrow(format, numbers, memory);
  }
}

// Planned tensors of one block, as the executor would hand them over. Values are sound but mean nothing.
BlockTensors make_tensors(const Model& model, int block_index, BatchShape shape, c10::DeviceType device) {
  const BlockEntry& entry = model.blocks.at(static_cast<std::size_t>(block_index));
  const auto options = at::TensorOptions().device(device).dtype(at::kFloat);
  BlockTensors t;
  // Laid out as in their chunk: a block may use that neighbours in memory are one matrix.
  struct ChunkTensors {
    plan::Chunk layout;
    at::Tensor values, gradients;
  };
  std::map<int, ChunkTensors> chunks;
  for (const int chunk : entry.chunks) {
    ChunkTensors tensors{chunk_layout(model.chunks[static_cast<std::size_t>(chunk)]), {}, {}};
    tensors.values = at::empty({tensors.layout.num_elements}, options.dtype(held_type(tensors.layout.held)));
    if (tensors.layout.trained) tensors.gradients = at::empty({tensors.layout.num_elements}, options);
    if (tensors.layout.trained && device != c10::DeviceType::Meta) tensors.gradients.zero_();
    chunks.emplace(chunk, std::move(tensors));
  }
  for (const auto [chunk, parameter] : parameter_places(model, entry)) {
    const ChunkTensors& tensors = chunks.at(chunk);
    const auto i = static_cast<std::size_t>(parameter);
    const plan::ParameterSlot& place = tensors.layout.parameters[i];
    t.parameters.push_back(view_of(place, tensors.values));
    t.gradients.push_back(view_of(place, tensors.gradients));
    if (device == c10::DeviceType::Meta) continue;
    fill_parameter(model.chunks[static_cast<std::size_t>(chunk)].parameters[i], place, t.parameters.back());
  }
  const auto boundary = [&] {
    at::Tensor tensor = at::empty({shape.micro_batch_size, shape.seq_len, model.hidden_size}, options);
    if (device != c10::DeviceType::Meta) tensor.fill_(1.0 / 64);
    return tensor;
  };
  if (entry.reads >= 0) {
    t.input = boundary();
    t.input_gradient = boundary();
  }
  if (entry.writes >= 0) {
    t.output = boundary();
    t.output_gradient = boundary();
  }
  const auto ids = [&] {
    at::Tensor tensor = at::empty({shape.micro_batch_size, shape.seq_len}, options.dtype(at::kLong));
    if (device != c10::DeviceType::Meta) tensor.zero_();
    return tensor;
  };
  t.batch = {ids(), ids()};
  return t;
}

}  // namespace

plan::Chunk chunk_layout(const ChunkSpec& spec) {
  plan::Chunk chunk;
  chunk.name = spec.name;
  chunk.trained = spec.trained;
  chunk.rule = spec.rule;
  chunk.stored = spec.stored;
  chunk.held = spec.held;
  const bool records = spec.stored == NumberFormat::Nf4;
  const std::int64_t alignment = records ? kNf4Elements : kElementsPerBlock;
  for (const auto& parameter : spec.parameters) {
    const std::int64_t first = round_up(chunk.num_elements, alignment);
    chunk.parameters.push_back({.name = parameter.name,
                                .shape = parameter.shape,
                                .first_element = first,
                                .num_elements = parameter.num_elements(),
                                .part_of_tensor = parameter.first_element(),
                                .num_joined = parameter.num_joined});
    chunk.num_elements = first + parameter.num_elements();
  }
  const std::int64_t page = spec.held == NumberFormat::Fp8 ? 2 * kElementsPerPage : kElementsPerPage;
  chunk.num_elements = round_up(chunk.num_elements, records ? kNf4Elements : page);
  return chunk;
}

namespace {

// Which of the allocations that a forward left are saved, and where in the buffers of their classes.
std::vector<plan::SavedAllocation> saved_allocations(const SavedLayout& layout, const TraceRecorder& recorder,
                                                     const std::string& block) {
  std::vector<plan::SavedAllocation> saved;
  for (const SavedLayout::Storage& storage : layout.storages()) {
    const auto found = recorder.live().find(storage.key);
    SLUICE_CHECK(found != recorder.live().end(), block, " saves a tensor that its forward did not make");
    saved.push_back({found->second, storage.saved_class, storage.offset});
  }
  SLUICE_CHECK(saved.size() == recorder.live().size(), block, " leaves memory allocated that it did not save");
  std::ranges::sort(saved, {}, &plan::SavedAllocation::id);
  return saved;
}

void record_copies(const SavedTensors& saved) {
  for (const auto& tensors : saved) {
    for (const at::Tensor& tensor : tensors) record_cost({.bytes = 2 * static_cast<Bytes>(tensor.nbytes())});
  }
}

// Forward and backward with the classes in `mask` saved; in between these are moved into planned memory. Kernels make
// allocations in the order of their trace, so these can be made there; torch's operators need not, so theirs are
// copied.
void trace_saving(const Block& block, const BlockTensors& t, SavedMask mask, plan::BlockTrace& trace) {
  TraceRecorder recorder;
  SavedTensors saved;
  SavedLayout layout;
  plan::ComputeTrace forward = recorder.record([&] {
    saved = run_forward_saving(block, t, mask);
    layout = SavedLayout(saved);
    if (!uses_torch()) return;
    record_copies(saved);
    saved.clear();
  });
  if (!uses_torch()) forward.saved = saved_allocations(layout, recorder, block.name());
  std::vector<std::vector<std::byte>> memory(trace.saved_bytes.size());
  SavedTensors planned;
  if (t.parameters.front().is_meta()) {
    planned = layout.bind_meta();
  } else {
    SavedBuffers buffers;
    for (std::size_t c = 0; c < memory.size(); ++c) {
      memory[c].resize(static_cast<std::size_t>(layout.bytes(static_cast<int>(c))));
      buffers.push_back(memory[c].data());
    }
    planned = saved.empty() ? layout.bind(buffers, at::kCPU) : layout.copy(saved, buffers, at::kCPU);
  }
  saved.clear();
  for (int c = 0; c < static_cast<int>(trace.saved_bytes.size()); ++c) {
    if ((mask >> c & 1U) == 0) continue;
    SLUICE_CHECK(trace.saved_bytes[c] == 0 || trace.saved_bytes[c] == layout.bytes(c), block.name(),
                 " saves a class differently beside others");
    trace.saved_bytes[c] = layout.bytes(c);
  }
  trace.forward.push_back(std::move(forward));
  trace.backward.push_back(recorder.record([&] { run_backward(block, t, std::move(planned)); }));
}

// The chunks of parameters at `positions`: whole ones, so that a plan need not know of parameters.
std::vector<int> chunks_of(const Model& model, int block_index, const std::vector<int>& positions) {
  const BlockEntry& entry = model.blocks[static_cast<std::size_t>(block_index)];
  const std::vector<ParameterPlace> places = parameter_places(model, entry);
  std::vector<int> result;
  std::size_t taken = 0;
  for (std::size_t i = 0; i < entry.chunks.size(); ++i) {
    const auto is_here = [&](int p) { return places[static_cast<std::size_t>(p)].chunk == entry.chunks[i]; };
    if (std::ranges::none_of(positions, is_here)) continue;
    result.push_back(static_cast<int>(i));
    taken += model.chunks[static_cast<std::size_t>(entry.chunks[i])].parameters.size();
  }
  SLUICE_CHECK(taken == positions.size(), "a segment takes whole chunks");
  return result;
}

std::vector<plan::SegmentTrace> trace_segments(const Model& model, int block_index, Computation computation,
                                               const BlockTensors& t) {
  const Block& block = *model.blocks[static_cast<std::size_t>(block_index)].block;
  const auto tokens = t.batch.input_ids.sizes();
  const std::vector<Segment> segments = block.segments(computation);
  std::vector<plan::SegmentTrace> traces;
  if (segments.empty()) return traces;
  BlockTensors part = t;
  part.scratch =
      at::zeros({block.scratch_elements({tokens[0], tokens[1]})}, t.parameters[0].options().dtype(at::kFloat));
  for (std::size_t i = 0; i < segments.size(); ++i) {
    TraceRecorder recorder;
    traces.push_back({chunks_of(model, block_index, segments[i].parameters),
                      chunks_of(model, block_index, segments[i].gradients),
                      recorder.record([&] { run_segment(block, computation, static_cast<int>(i), part); })});
  }
  return traces;
}

}  // namespace

plan::BlockTrace trace_block(const Model& model, int block_index, BatchShape shape, c10::DeviceType device) {
  install_cpu_allocator();
  const Block& block = *model.blocks.at(static_cast<std::size_t>(block_index)).block;
  const BlockTensors t = make_tensors(model, block_index, shape, device);
  TraceRecorder recorder;
  plan::BlockTrace trace;
  trace.saved_classes = block.saved_classes();
  trace.saved_bytes.resize(trace.saved_classes.size(), 0);
  if (dynamic_cast<const LossBlock*>(&block) != nullptr) {
    trace.backward.push_back(recorder.record([&] { static_cast<void>(run_backward(block, t)); }));
  } else {
    for (SavedMask mask = 0; mask <= trace.all_classes(); ++mask) trace_saving(block, t, mask, trace);
  }
  trace.evaluate = recorder.record([&] { static_cast<void>(run_evaluate(block, t)); });
  trace.forward_segments = trace_segments(model, block_index, Computation::Forward, t);
  trace.backward_segments = trace_segments(model, block_index, Computation::Backward, t);
  trace.evaluate_segments = trace_segments(model, block_index, Computation::Evaluate, t);
  if (!trace.backward_segments.empty())
    trace.scratch_bytes = block.scratch_elements(shape) * static_cast<Bytes>(sizeof(float));
  return trace;
}

PlayableBackward make_playable_backward(const Model& model, int block_index, BatchShape shape) {
  install_cpu_allocator();
  const Block& block = *model.blocks.at(static_cast<std::size_t>(block_index)).block;
  const BlockTensors on_meta = make_tensors(model, block_index, shape, c10::DeviceType::Meta);
  TraceRecorder recorder;
  plan::ComputeTrace trace = recorder.record([&] { static_cast<void>(run_backward(block, on_meta)); });
  PlayableBackward backward;
  backward.ops = std::move(trace.ops);
  std::map<std::int32_t, Bytes> live;
  Bytes sum = 0;
  for (const plan::AllocationEvent& event : trace.events) {
    sum += event.bytes - (event.bytes > 0 ? 0 : live[event.id]);
    live[event.id] = event.bytes;
    backward.peak = std::max(backward.peak, sum);
  }
  backward.play = [&block, tensors = make_tensors(model, block_index, shape, c10::DeviceType::CPU)] {
    static_cast<void>(run_backward(block, tensors));
  };
  return backward;
}

plan::BlockTrace trace_pass(const Model& model, int block_index, PassShape shape, c10::DeviceType device) {
  install_cpu_allocator();
  const Block& block = *model.blocks.at(static_cast<std::size_t>(block_index)).block;
  BlockTensors t = make_tensors(model, block_index, {1, shape.num_tokens}, device);
  const auto options = at::TensorOptions().device(device).dtype(at::kFloat);
  if (!t.output.defined()) t.output = at::empty({1, 1, model.vocab_size}, options);
  KvCache cache;
  if (const auto size = block.cache_shape(); !size.empty()) {
    cache.keys = at::zeros({1, size[0], shape.max_length, size[1]}, options);
    cache.values = at::zeros_like(cache.keys);
  }
  t.position = {shape.position, shape.num_tokens};
  TraceRecorder recorder;
  plan::BlockTrace trace;
  trace.generate.push_back(recorder.record([&] { run_generate(block, t, cache); }));
  trace.generate_segments.push_back(trace_segments(model, block_index, Computation::Generate, t));
  return trace;
}

namespace {

// Blocks of equal keys differ in their traces all the same when other parameters of theirs are trained, are held
// otherwise or lie apart.
std::string grouped_key(const Model& model, const BlockEntry& entry) {
  std::string key = entry.block->trace_key();
  for (const auto [chunk, parameter] : parameter_places(model, entry)) {
    const auto own = std::ranges::find(entry.chunks, chunk) - entry.chunks.begin();
    const ChunkSpec& spec = model.chunks[static_cast<std::size_t>(chunk)];
    key += std::string(spec.trained ? " t" : " f") + name(spec.held) + std::to_string(own);
  }
  return key;
}

// Blocks and chunks in their places; `trace` is asked once per distinct block.
template <typename Trace>
plan::StepTrace lay_out(const Model& model, std::int64_t tokens, const Trace& trace) {
  plan::StepTrace step;
  step.tokens_per_micro_batch = tokens;
  for (const auto& spec : model.chunks) step.chunks.push_back(chunk_layout(spec));
  std::map<std::string, int> traced;
  int num_boundaries = 0;
  for (std::size_t i = 0; i < model.blocks.size(); ++i) {
    const BlockEntry& entry = model.blocks[i];
    const auto [row, is_new] = traced.emplace(grouped_key(model, entry), static_cast<int>(step.traces.size()));
    if (is_new) step.traces.push_back(trace(static_cast<int>(i)));
    step.blocks.push_back({entry.block->name(), row->second, entry.chunks, entry.reads, entry.writes});
    num_boundaries = std::max(num_boundaries, entry.writes + 1);
  }
  const Bytes boundary = step.tokens_per_micro_batch * model.hidden_size * static_cast<Bytes>(sizeof(float));
  step.boundary_bytes.assign(static_cast<std::size_t>(num_boundaries), boundary);
  return step;
}

}  // namespace

plan::StepTrace trace_model(const Model& model, BatchShape shape) {
  if (model.max_positions > 0 && shape.seq_len > model.max_positions) {
    throw ConfigError(
        "model", "sequences are longer than the model's table of positions",
        "expected at most " + std::to_string(model.max_positions) + " tokens, got " + std::to_string(shape.seq_len),
        "lower --seq-len");
  }
  return lay_out(model, shape.micro_batch_size * shape.seq_len,
                 [&](int block) { return trace_block(model, block, shape, c10::DeviceType::Meta); });
}

plan::StepTrace trace_generation(const Model& model, const GenerationShape& shape) {
  const std::int64_t most = *std::max_element(shape.pass_tokens.begin(), shape.pass_tokens.end());
  plan::StepTrace step = lay_out(model, most, [&](int block) {
    plan::BlockTrace trace;
    for (const std::int64_t tokens : shape.pass_tokens) {
      const PassShape pass{shape.max_length, tokens, shape.max_length - tokens};
      plan::BlockTrace one = trace_pass(model, block, pass, c10::DeviceType::Meta);
      trace.generate.push_back(std::move(one.generate[0]));
      trace.generate_segments.push_back(std::move(one.generate_segments[0]));
    }
    return trace;
  });
  step.pass_tokens = shape.pass_tokens;
  for (const BlockEntry& entry : model.blocks) {
    const std::vector<std::int64_t> size = entry.block->cache_shape();
    std::int64_t elements = size.empty() ? 0 : 2 * shape.max_length * size[0] * size[1];
    if (entry.writes < 0) elements = model.vocab_size;
    step.cache_bytes.push_back(elements * static_cast<Bytes>(sizeof(float)));
  }
  for (plan::Chunk& chunk : step.chunks) chunk.trained = false;
  return step;
}

}  // namespace sluice::model
