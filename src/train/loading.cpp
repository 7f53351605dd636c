#include "train/loading.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "exec/state_layout.h"
#include "model/init.h"

namespace sluice::train {
namespace {

using Fill = std::function<void(std::size_t parameter, std::int64_t first, std::span<float> into)>;

// One chunk's weights in pieces; `fill` makes the part of one parameter, padding stays zero.
void stream_weights(Session& session, int chunk, std::span<float> staging, const Fill& fill) {
  const plan::Chunk& layout = session.trace.chunks[chunk];
  const auto piece = static_cast<std::int64_t>(staging.size()) / exec::State::kPiece * exec::State::kPiece;
  for (std::int64_t first = 0; first < layout.num_elements; first += piece) {
    const std::int64_t count = std::min(piece, layout.num_elements - first);
    const auto part = staging.first(static_cast<std::size_t>(count));
    std::fill(part.begin(), part.end(), 0.0F);
    for (std::size_t p = 0; p < layout.parameters.size(); ++p) {
      const plan::ParameterSlot& parameter = layout.parameters[p];
      const std::int64_t begin = std::max(first, parameter.first_element);
      const std::int64_t end = std::min(first + count, parameter.first_element + parameter.num_elements);
      if (begin < end) fill(p, begin - parameter.first_element, part.subspan(begin - first, end - begin));
    }
    session.state->write(plan::BufferKind::Weight, chunk, -1, first, part);
  }
}

}  // namespace

std::vector<format::TensorInfo> expected_tensors(const plan::StepTrace& trace) {
  std::vector<format::TensorInfo> expected;
  for (const plan::PublishedTensor& tensor : plan::published_tensors(trace.chunks))
    expected.push_back({tensor.name, "F32", tensor.shape});
  return expected;
}

namespace {

// Throws FormatError where the run keeps this state in another format.
const format::StoredTensor& find_state(const format::SafetensorsFile& file, const exec::StateArray& array) {
  const format::StoredTensor* tensor = file.find(array.name);
  const std::string expected = array.dtype + " " + format::format_shape(array.shape);
  const std::string got = tensor == nullptr ? "none" : tensor->dtype + " " + format::format_shape(tensor->shape);
  if (got != expected)
    throw FormatError("resume", "the checkpoint's " + array.name + " is of another run",
                      "expected " + expected + ", got " + got,
                      "resume with the --optimizer and --moments-dtype it had");
  return *tensor;
}

/// Where a parameter's numbers are in a file: from which item of a tensor on.
struct ArrayPart {
  const format::StoredTensor* tensor = nullptr;
  std::int64_t first = 0;
};

// One moment buffer, stripe by stripe; what no tensor owns stays zero.
void stream_buffer(Session& session, plan::BufferId id, std::span<std::byte> staging, const exec::StateLayout& layout,
                   std::span<const ArrayPart> arrays, const format::SafetensorsFile* file) {
  const plan::Buffer& buffer = session.state->buffers()[id];
  const std::vector<exec::StateRun> runs = file != nullptr ? layout.runs(buffer) : std::vector<exec::StateRun>{};
  for (Bytes begin = 0; begin < buffer.bytes; begin += tier::kStripeBytes) {
    const Bytes end = std::min(begin + tier::kStripeBytes, buffer.bytes);
    const auto stripe = staging.first(static_cast<std::size_t>(end - begin));
    std::ranges::fill(stripe, std::byte{0});
    for (const exec::StateRun& run : runs) {
      const Bytes from = std::max(begin, run.offset), to = std::min(end, run.offset + run.count * run.item);
      if (from >= to) continue;
      const ArrayPart& array = arrays[2 * run.parameter + (run.scales ? 1 : 0)];
      file->read(*array.tensor, (array.first + run.first) * run.item + from - run.offset,
                 stripe.subspan(from - begin, to - from));
    }
    session.state->write(id, begin, stripe);
  }
}

void load_moments(Session& session, const format::SafetensorsFile* file, std::span<float> staging) {
  const exec::StateLayout layout(session.trace, session.rule->states());
  // By chunk and state: elements and scales of each parameter.
  std::map<std::pair<int, int>, std::vector<ArrayPart>> arrays;
  for (const exec::StateArray& array : layout.arrays()) {
    const format::StoredTensor* const tensor = file != nullptr ? &find_state(*file, array) : nullptr;
    for (const exec::StateArray::Part& part : array.parts) {
      auto& row = arrays[{part.chunk, array.state}];
      row.resize(2 * session.trace.chunks[part.chunk].parameters.size());
      row[2 * part.parameter + (array.scales ? 1 : 0)] = {tensor, part.first};
    }
  }
  const auto& buffers = session.state->buffers();
  for (plan::BufferId id = 0; id < static_cast<plan::BufferId>(buffers.size()); ++id) {
    if (buffers[id].kind != plan::BufferKind::Moment) continue;
    stream_buffer(session, id, std::as_writable_bytes(staging), layout, arrays[{buffers[id].chunk, buffers[id].moment}],
                  file);
  }
}

}  // namespace

void load_state(Session& session, const format::WeightSource* weights, const format::SafetensorsFile* states,
                std::span<float> staging) {
  if (weights != nullptr) format::check_weights(session.config, *weights, expected_tensors(session.trace));
  for (int chunk = 0; chunk < static_cast<int>(session.trace.chunks.size()); ++chunk) {
    const auto& parameters = session.trace.chunks[chunk].parameters;
    stream_weights(session, chunk, staging, [&](std::size_t p, std::int64_t first, std::span<float> into) {
      const std::int64_t at = parameters[p].part_of_tensor + first;
      if (weights != nullptr) {
        weights->read(parameters[p].name, at, into);
      } else {
        model::init_parameter(session.model.chunks[chunk].parameters[p], session.settings.seed, at, into);
      }
    });
  }
  load_moments(session, states, staging);
  session.state->commit();
}

}  // namespace sluice::train
