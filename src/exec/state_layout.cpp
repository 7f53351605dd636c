#include "exec/state_layout.h"

#include <algorithm>

#include "base/check.h"

namespace sluice::exec {
namespace {

constexpr Bytes kLine = 64;  // small states of a tensor begin on one
constexpr Bytes kFloat = sizeof(float);
static_assert(plan::kStateBlock == optim::kBlock);

Bytes width(optim::StateFormat format) {
  switch (format) {
    case optim::StateFormat::Fp32:
      return 4;
    case optim::StateFormat::Bf16:
    case optim::StateFormat::Low16:
      return 2;
    case optim::StateFormat::Block8:
      return 1;
  }
  return 0;
}

const char* dtype(optim::StateFormat format) {
  switch (format) {
    case optim::StateFormat::Fp32:
      return "F32";
    case optim::StateFormat::Bf16:
      return "BF16";
    case optim::StateFormat::Low16:
      return "U16";
    case optim::StateFormat::Block8:
      return "U8";
  }
  return "?";
}

/// Of a small state: one number for each of the parameter's.
bool is_per_element(optim::Extent extent) {
  return extent == optim::Extent::Vectors || extent == optim::Extent::SmallTensors;
}

std::int64_t num_blocks(std::int64_t elements) { return (elements + optim::kBlock - 1) / optim::kBlock; }

}  // namespace

std::vector<plan::RuleNeeds> rule_needs(const plan::StepTrace& trace, const optim::RuleSet& rules) {
  const StateLayout layout(trace, rules);
  std::vector<plan::RuleNeeds> needs;
  for (const optim::RuleUse& use : rules) {
    const optim::Measuring measuring = use.rule->measuring();
    needs.push_back({.weights = use.precision.weights,
                     .states = layout.bytes(static_cast<int>(needs.size())),
                     .measuring_passes = measuring.passes,
                     .advanced_states = measuring.advanced});
  }
  return needs;
}

StateLayout::StateLayout(const plan::StepTrace& trace, const optim::RuleSet& rules) : trace_(trace) {
  for (const optim::RuleUse& use : rules) {
    states_.push_back(use.rule->states());
    for (const optim::StateSpec& state : states_.back())
      SLUICE_CHECK(optim::is_sliced(state.extent) || state.format == optim::StateFormat::Fp32, state.name,
                   " is small and must be fp32");
  }
}

std::int64_t StateLayout::count(int chunk, int state, int parameter) const {
  const plan::Chunk& owner = trace_.chunks[chunk];
  return owner.trained ? optim::num_elements(spec(chunk, state).extent, owner.parameters[parameter].shape) : 0;
}

Bytes StateLayout::small_offset(int chunk, int state, int parameter) const {
  Bytes offset = 0;
  for (int before = 0; before < parameter; ++before) offset += round_up(count(chunk, state, before) * kFloat, kLine);
  return offset;
}

std::vector<plan::StateBytes> StateLayout::bytes(int rule) const {
  std::vector<plan::StateBytes> result;
  for (int state = 0; state < static_cast<int>(states_[rule].size()); ++state) {
    const optim::StateSpec& spec = states_[rule][state];
    if (optim::is_sliced(spec.extent)) {
      const Bytes scale = spec.format == optim::StateFormat::Block8 ? kFloat : 0;
      result.push_back({.per_block = optim::kBlock * width(spec.format) + scale});
      continue;
    }
    plan::StateBytes small{.per_block = 0};
    for (int chunk = 0; chunk < static_cast<int>(trace_.chunks.size()); ++chunk) {
      const plan::Chunk& owner = trace_.chunks[chunk];
      const auto num_parameters = static_cast<int>(owner.parameters.size());
      small.per_chunk.push_back(owner.rule == rule ? small_offset(chunk, state, num_parameters) : 0);
    }
    result.push_back(std::move(small));
  }
  return result;
}

std::vector<StateArray> StateLayout::arrays() const {
  const std::vector<plan::PublishedTensor> tensors = plan::published_tensors(trace_.chunks);
  std::vector<StateArray> result;
  for (int rule = 0; rule < static_cast<int>(states_.size()); ++rule) {
    for (int state = 0; state < static_cast<int>(states_[rule].size()); ++state) {
      for (const plan::PublishedTensor& tensor : tensors) {
        if (trace_.chunks[tensor.parts.front().chunk].rule == rule) add_arrays(tensor, state, result);
      }
    }
  }
  return result;
}

// All parts of a tensor have one rule.
void StateLayout::add_arrays(const plan::PublishedTensor& tensor, int state, std::vector<StateArray>& result) const {
  const optim::StateSpec& spec = this->spec(tensor.parts.front().chunk, state);
  StateArray array{.name = spec.name + "/" + tensor.name, .dtype = dtype(spec.format), .shape = {}, .state = state};
  StateArray scales{.name = array.name + ".absmax", .dtype = "F32", .shape = {}, .state = state, .scales = true};
  std::int64_t items = 0, blocks = 0, elements = 0;
  for (const plan::PublishedTensor::Part& part : tensor.parts) {
    const std::int64_t own = count(part.chunk, state, part.parameter);
    array.parts.push_back({part.chunk, part.parameter, items});
    scales.parts.push_back({part.chunk, part.parameter, blocks});
    items += own;
    blocks += num_blocks(own);
    elements += part.num_elements;
  }
  if (items == 0) return;
  array.shape = items == elements ? tensor.shape : std::vector{items};
  scales.shape = {blocks};
  result.push_back(std::move(array));
  if (spec.format == optim::StateFormat::Block8) result.push_back(std::move(scales));
}

std::vector<StateRun> StateLayout::runs(const plan::Buffer& buffer) const {
  std::vector<StateRun> result;
  const optim::StateSpec& spec = this->spec(buffer.chunk, buffer.moment);
  const auto& parameters = trace_.chunks[buffer.chunk].parameters;
  for (int p = 0; p < static_cast<int>(parameters.size()); ++p) {
    const std::int64_t elements = count(buffer.chunk, buffer.moment, p);
    if (elements == 0) continue;
    if (!optim::is_sliced(spec.extent)) {
      result.push_back({p, false, 0, elements, small_offset(buffer.chunk, buffer.moment, p), kFloat});
      continue;
    }
    const std::int64_t in_chunk = parameters[p].first_element;
    const std::int64_t begin = std::max(buffer.first_element, in_chunk);
    const std::int64_t end = std::min(buffer.first_element + buffer.num_elements, in_chunk + elements);
    if (begin >= end) continue;
    const Bytes item = width(spec.format);
    const std::int64_t at = begin - buffer.first_element;
    result.push_back({p, false, begin - in_chunk, end - begin, at * item, item});
    if (spec.format != optim::StateFormat::Block8) continue;
    result.push_back({p, true, (begin - in_chunk) / optim::kBlock, num_blocks(end - begin),
                      buffer.num_elements + at / optim::kBlock * kFloat, kFloat});
  }
  return result;
}

std::vector<StateRun> StateLayout::own_runs(const plan::Buffer& buffer, const plan::ElementRange& own) const {
  const optim::StateSpec& spec = this->spec(buffer.chunk, buffer.moment);
  std::vector<StateRun> result = runs(buffer);
  if (optim::is_sliced(spec.extent)) return result;
  for (StateRun& run : result) {
    const std::int64_t in_chunk = trace_.chunks[buffer.chunk].parameters[run.parameter].first_element;
    const std::int64_t length = is_per_element(spec.extent) ? run.count : 1;
    const std::int64_t begin = std::clamp<std::int64_t>(own.first - in_chunk, 0, length);
    const std::int64_t end = std::clamp<std::int64_t>(own.first + own.count - in_chunk, begin, length);
    if (!is_per_element(spec.extent)) {
      if (begin == end) run.count = 0;
      continue;
    }
    run.first += begin;
    run.offset += begin * run.item;
    run.count = end - begin;
  }
  std::erase_if(result, [](const StateRun& run) { return run.count == 0; });
  return result;
}

optim::StateView StateLayout::view(const plan::Buffer& buffer, std::byte* memory, int parameter,
                                   std::int64_t first) const {
  const optim::StateSpec& spec = this->spec(buffer.chunk, buffer.moment);
  if (count(buffer.chunk, buffer.moment, parameter) == 0) return {};
  if (!optim::is_sliced(spec.extent)) {
    const Bytes offset =
        small_offset(buffer.chunk, buffer.moment, parameter) + (is_per_element(spec.extent) ? first * kFloat : 0);
    return {.elements = memory + offset};
  }
  const std::int64_t at =
      trace_.chunks[buffer.chunk].parameters[parameter].first_element + first - buffer.first_element;
  optim::StateView view{.elements = memory + at * width(spec.format)};
  if (spec.format == optim::StateFormat::Block8)
    view.scales = reinterpret_cast<float*>(memory + buffer.num_elements) + at / optim::kBlock;
  return view;
}

}  // namespace sluice::exec
