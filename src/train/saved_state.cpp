#include "train/saved_state.h"

#include <algorithm>
#include <iterator>

#include "format/dequantize.h"
#include "format/peft.h"
#include "format/safetensors.h"
#include "recipe/support.h"

namespace sluice::train {

const char* dtype_of(NumberFormat weights) {
  switch (weights) {
    case NumberFormat::Fp32:
    case NumberFormat::Nf4:     // of what is trained, never
    case NumberFormat::OneBit:  // of what is stored, never
      break;
    case NumberFormat::Bf16:
    case NumberFormat::Fp8:  // all of whose numbers bf16 has
      return "BF16";
    case NumberFormat::Fp16:
      return "F16";
  }
  return "F32";
}

void read_as(std::string_view dtype, std::int64_t first, std::span<std::byte> into,
             const std::function<void(std::int64_t first, std::span<float> values)>& read) {
  if (dtype == "F32") return read(first, {reinterpret_cast<float*>(into.data()), into.size() / sizeof(float)});
  const std::size_t count = into.size() / sizeof(std::uint16_t);
  std::vector<float> wide(std::min<std::size_t>(count, exec::State::kPiece));  // a stripe of the disk tier
  for (std::size_t done = 0; done < count; done += wide.size()) {
    const std::span values(wide.data(), std::min(wide.size(), count - done));
    std::ranges::fill(values, 0.0F);  // what another rank holds is not read
    read(first + static_cast<std::int64_t>(done), values);
    format::narrow(values, dtype, into.subspan(done * sizeof(std::uint16_t), values.size_bytes() / 2));
  }
}

std::string residual_name(int rank, const std::string& tensor) { return "rank-" + std::to_string(rank) + "/" + tensor; }

SavedState::SavedState(Session& session, bool with_states) : session_(session), layout_(session.trace, session.rules) {
  const RunModel& run = session.run_model;
  for (const plan::PublishedTensor& tensor : plan::published_tensors(session.trace.chunks)) {
    const bool of_adapter = tensor.name.starts_with(format::kPeftPrefix);
    if (run.adapter && !of_adapter && !run.trains_base) continue;
    const int rule = run.trains_base && !of_adapter ? recipe::kBaseRule : 0;
    const NumberFormat weights = optim::format_of(session.rules[rule].precision.weights, tensor.shape.size());
    tensors_.push_back({of_adapter ? kAdapter : kModel, tensor.name, tensor.shape, dtype_of(weights)});
    weights_.emplace(tensor.name, tensor.parts);
  }
  if (!with_states || session.request.forward_only) return;
  for (exec::StateArray& array : layout_.arrays()) {
    tensors_.push_back({kOptimizer, array.name, array.shape, array.dtype});
    arrays_.emplace(array.name, std::move(array));
  }
  if (session.request.recipe.keeps_residuals()) add_residuals();
}

// Every rank knows of all, and has its own.
void SavedState::add_residuals() {
  const std::vector<plan::PublishedTensor> tensors = plan::published_tensors(session_.trace.chunks);
  for (int rank = 0; rank < session_.ranks->count(); ++rank) {
    for (const plan::PublishedTensor& tensor : tensors) {
      if (!session_.trace.chunks[tensor.parts.front().chunk].trained) continue;
      const std::string name = residual_name(rank, tensor.name);
      tensors_.push_back({kResidual, name, tensor.shape, "F32"});
      if (rank == session_.ranks->rank()) residuals_.emplace(name, tensor.parts);
    }
  }
}

std::vector<checkpoint::StateTensor> SavedState::tensors_of(const std::string& file) const {
  std::vector<checkpoint::StateTensor> found;
  std::ranges::copy_if(tensors_, std::back_inserter(found), [&](const auto& tensor) { return tensor.file == file; });
  return found;
}

std::vector<std::string> SavedState::files() const {
  std::vector<std::string> files;
  for (const checkpoint::StateTensor& tensor : tensors_)
    if (std::ranges::find(files, tensor.file) == files.end()) files.push_back(tensor.file);
  return files;
}

bool SavedState::is_divided(const checkpoint::StateTensor& tensor) const {
  const plan::Sharding& sharding = session_.request.recipe.sharding;
  if (tensor.file == kResidual) return true;
  return tensor.file == kOptimizer ? sharding.states() : sharding.weights();
}

std::int64_t SavedState::index_of(const checkpoint::StateTensor& tensor) const {
  const auto same = [&](const checkpoint::StateTensor& other) {
    return other.name == tensor.name && other.file == tensor.file;
  };
  return std::ranges::find_if(tensors_, same) - tensors_.begin();
}

std::vector<plan::ElementRange> SavedState::held(const checkpoint::StateTensor& tensor) const {
  std::vector<Run> runs = runs_of(tensor);
  std::ranges::sort(runs, {}, &Run::first);
  std::vector<plan::ElementRange> ranges;
  for (const Run& run : runs) {
    if (!ranges.empty() && ranges.back().first + ranges.back().count == run.first) {
      ranges.back().count += run.count;
    } else {
      ranges.push_back({run.first, run.count});
    }
  }
  return ranges;
}

void SavedState::read(const checkpoint::StateTensor& tensor, std::int64_t first, std::span<std::byte> into) const {
  const std::vector<Run> runs = runs_of(tensor);
  if (tensor.file == kOptimizer || tensor.file == kResidual)
    return read_array(runs, format::safetensors_dtype_bits(tensor.dtype) / 8, first, into);
  read_as(tensor.dtype, first, into, [&](std::int64_t at, std::span<float> values) { read_weights(runs, at, values); });
}

std::vector<SavedState::Run> SavedState::runs_of(const checkpoint::StateTensor& tensor) const {
  if (tensor.file == kResidual) return residual_runs(tensor.name);
  return tensor.file == kOptimizer ? array_runs(arrays_.at(tensor.name)) : weight_runs(tensor.name);
}

std::vector<SavedState::Run> SavedState::residual_runs(const std::string& name) const {
  std::vector<Run> runs;
  const auto own = residuals_.find(name);
  if (own == residuals_.end()) return runs;
  const auto& buffers = session_.state->buffers();
  std::int64_t first = 0;
  for (const plan::PublishedTensor::Part& part : own->second) {
    const auto buffer = std::ranges::find_if(buffers, [&](const plan::Buffer& other) {
      return other.kind == plan::BufferKind::Residual && other.chunk == part.chunk;
    });
    runs.push_back({.first = first,
                    .count = part.num_elements,
                    .at = part.first_element * static_cast<std::int64_t>(sizeof(float)),
                    .id = static_cast<plan::BufferId>(buffer - buffers.begin())});
    first += part.num_elements;
  }
  return runs;
}

std::vector<SavedState::Run> SavedState::weight_runs(const std::string& name) const {
  std::vector<Run> runs;
  std::int64_t part_begin = 0;
  for (const plan::PublishedTensor::Part& part : weights_.at(name)) {
    const plan::ElementRange here = session_.weights_here(part.chunk);
    const std::int64_t begin = std::max(part.first_element, here.first);
    const std::int64_t end = std::min(part.first_element + part.num_elements, here.first + here.count);
    if (begin < end)
      runs.push_back(
          {.first = part_begin + begin - part.first_element, .count = end - begin, .at = begin, .chunk = part.chunk});
    part_begin += part.num_elements;
  }
  return runs;
}

// From every buffer of the state that holds some of it.
std::vector<SavedState::Run> SavedState::array_runs(const exec::StateArray& array) const {
  std::vector<Run> runs;
  const auto& buffers = session_.state->buffers();
  for (const exec::StateArray::Part& part : array.parts) {
    const plan::ElementRange own =
        plan::own_range(session_.plans.train, session_.trace.chunks[part.chunk].num_elements);
    for (plan::BufferId id = 0; id < static_cast<plan::BufferId>(buffers.size()); ++id) {
      if (buffers[id].chunk != part.chunk || buffers[id].moment != array.state) continue;
      for (const exec::StateRun& run : layout_.own_runs(buffers[id], own)) {
        if (run.parameter == part.parameter && run.scales == array.scales && run.count > 0)
          runs.push_back({.first = part.first + run.first, .count = run.count, .at = run.offset, .id = id});
      }
    }
  }
  return runs;
}

void SavedState::read_weights(const std::vector<Run>& runs, std::int64_t first, std::span<float> values) const {
  const std::int64_t last = first + static_cast<std::int64_t>(values.size());
  for (const Run& run : runs) {
    const std::int64_t begin = std::max(first, run.first), end = std::min(last, run.first + run.count);
    if (begin >= end) continue;
    session_.state->read(plan::BufferKind::Weight, run.chunk, -1, run.at + begin - run.first,
                         values.subspan(begin - first, end - begin));
  }
}

void SavedState::read_array(const std::vector<Run>& runs, std::int64_t width, std::int64_t first,
                            std::span<std::byte> into) const {
  const std::int64_t last = first + static_cast<std::int64_t>(into.size()) / width;
  for (const Run& run : runs) {
    const std::int64_t begin = std::max(first, run.first), end = std::min(last, run.first + run.count);
    if (begin >= end) continue;
    session_.state->read(run.id, run.at + (begin - run.first) * width,
                         into.subspan((begin - first) * width, (end - begin) * width));
  }
}

}  // namespace sluice::train
