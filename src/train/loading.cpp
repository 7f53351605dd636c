#include "train/loading.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "base/error.h"
#include "base/nf4.h"
#include "exec/state_layout.h"
#include "model/init.h"
#include "optim/weight_precision.h"
#include "recipe/support.h"
#include "train/saved_state.h"

namespace sluice::train {
namespace {

/// Weights as a file has them, or fresh ones.
class Loaded {
 public:
  Loaded(const Session& session, const format::WeightSource* weights) : session_(session), weights_(weights) {}

  void read(int chunk, std::size_t parameter, std::int64_t first, std::span<float> into) const {
    const plan::ParameterSlot& slot = session_.trace.chunks[chunk].parameters[parameter];
    const std::int64_t at = slot.part_of_tensor + first;
    if (weights_ != nullptr) {
      weights_->read(slot.name, at, into);
    } else {
      model::init_parameter(session_.model.chunks[chunk].parameters[parameter], session_.settings.seed, at, into);
    }
  }

 private:
  const Session& session_;
  const format::WeightSource* weights_;
};

// What training makes larger is cut off, but a model that begins beyond the format's range is not itself in it.
void check_range(const std::string& tensor, std::span<const float> numbers) {
  const auto beyond = std::ranges::find_if(numbers, [](float number) { return std::abs(number) > kFp8Most; });
  if (beyond == numbers.end()) return;
  throw ConfigError("weights", "'" + tensor + "' has numbers that fp8 has not",
                    "expected none beyond " + std::to_string(kFp8Most) + ", got " + std::to_string(*beyond),
                    "use --weights-dtype bf16");
}

// What this rank keeps of one chunk's weights, in pieces; padding stays zero.
void stream_weights(Session& session, int chunk, std::span<float> staging, const Loaded& loaded) {
  const plan::Chunk& layout = session.trace.chunks[chunk];
  optim::WeightPrecision precision =
      layout.trained ? session.rules[layout.rule].precision : optim::WeightPrecision{session.request.recipe.frozen};
  precision.weights = layout.stored.value_or(precision.weights);
  const auto piece = static_cast<std::int64_t>(staging.size()) / exec::State::kPiece * exec::State::kPiece;
  const plan::ElementRange here = session.weights_here(chunk);
  for (std::int64_t first = here.first; first < here.first + here.count; first += piece) {
    const std::int64_t count = std::min(piece, here.first + here.count - first);
    const auto part = staging.first(static_cast<std::size_t>(count));
    std::fill(part.begin(), part.end(), 0.0F);
    for (std::size_t p = 0; p < layout.parameters.size(); ++p) {
      const plan::ParameterSlot& parameter = layout.parameters[p];
      const std::int64_t begin = std::max(first, parameter.first_element);
      const std::int64_t end = std::min(first + count, parameter.first_element + parameter.num_elements);
      if (begin >= end) continue;
      const auto numbers = part.subspan(begin - first, end - begin);
      loaded.read(chunk, p, begin - parameter.first_element, numbers);
      if (precision.weights == NumberFormat::Fp8) check_range(parameter.name, numbers);
    }
    optim::round_loaded(precision, part);
    session.state->write(plan::BufferKind::Weight, chunk, -1, first, part);
  }
}

// The same of linear maps in NF4, which needs a mean over each tensor before: they are read twice.
void stream_nf4(Session& session, int chunk, std::span<float> staging, const Loaded& loaded) {
  const plan::Chunk& layout = session.trace.chunks[chunk];
  const auto piece = static_cast<std::int64_t>(staging.size()) / kNf4Group * kNf4Group;
  Bytes written = 0;
  std::array<std::byte, nf4_bytes(kNf4Group)> records;
  const auto write = [&](std::int64_t num_elements) {
    const auto bytes = static_cast<std::size_t>(nf4_bytes(num_elements));
    session.state->write_stored(chunk, written, std::span(records).first(bytes));
    written += static_cast<Bytes>(bytes);
  };
  for (std::size_t p = 0; p < layout.parameters.size(); ++p) {
    const std::int64_t size = layout.parameters[p].num_elements;
    const auto for_pieces = [&](const auto& visit) {
      for (std::int64_t first = 0; first < size; first += piece) {
        const auto part = staging.first(static_cast<std::size_t>(std::min(piece, size - first)));
        loaded.read(chunk, p, first, part);
        visit(std::span<const float>(part));
      }
    };
    Nf4Mean mean;
    for_pieces([&](std::span<const float> part) { mean.add(part); });
    for_pieces([&](std::span<const float> part) {
      for (std::size_t first = 0; first < part.size(); first += kNf4Group) {
        const auto group = part.subspan(first, std::min<std::size_t>(kNf4Group, part.size() - first));
        const auto count = static_cast<std::int64_t>(group.size());
        pack_nf4(group, mean.value(), std::span(records).first(static_cast<std::size_t>(nf4_bytes(count))));
        write(count);
      }
    });
  }
  records.fill(std::byte{0});  // padding
  while (written < nf4_bytes(layout.num_elements)) write(kNf4Elements);
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
const format::TensorInfo& find_state(const format::PiecedTensors& file, const exec::StateArray& array) {
  const format::TensorInfo* tensor = file.find(array.name);
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
  const format::TensorInfo* tensor = nullptr;
  std::int64_t first = 0;
};

/// Makes items of a run from its `first` on.
using FillRun = std::function<void(const exec::StateRun& run, std::int64_t first, std::span<std::byte> into)>;

// One buffer of states, stripe by stripe; what no tensor owns stays zero, and all of it without `fill`.
void stream_buffer(Session& session, plan::BufferId id, std::span<std::byte> staging,
                   std::span<const exec::StateRun> runs, const FillRun& fill) {
  const plan::Buffer& buffer = session.state->buffers()[id];
  for (Bytes begin = 0; begin < buffer.bytes; begin += tier::kStripeBytes) {
    const Bytes end = std::min(begin + tier::kStripeBytes, buffer.bytes);
    const auto stripe = staging.first(static_cast<std::size_t>(end - begin));
    std::ranges::fill(stripe, std::byte{0});
    for (const exec::StateRun& run : runs) {
      const Bytes from = std::max(begin, run.offset), to = std::min(end, run.offset + run.count * run.item);
      if (fill && from < to) fill(run, (from - run.offset) / run.item, stripe.subspan(from - begin, to - from));
    }
    session.state->write(id, begin, stripe);
  }
}

// A state that starts as the weight: all of it, or in Low16 its lower half.
FillRun from_weights(const Loaded& loaded, int chunk, std::span<float> scratch) {
  return [&loaded, chunk, scratch](const exec::StateRun& run, std::int64_t first, std::span<std::byte> into) {
    const auto count = static_cast<std::size_t>(static_cast<Bytes>(into.size()) / run.item);
    if (run.item == sizeof(float)) {
      loaded.read(chunk, run.parameter, run.first + first, {reinterpret_cast<float*>(into.data()), count});
      return;
    }
    loaded.read(chunk, run.parameter, run.first + first, scratch.first(count));
    optim::lower_halves(scratch.first(count), {reinterpret_cast<std::uint16_t*>(into.data()), count});
  };
}

void load_moments(Session& session, const Loaded& loaded, const format::PiecedTensors* file, std::span<float> staging) {
  const exec::StateLayout layout(session.trace, session.rules);
  // By chunk and state: elements and scales of each parameter.
  std::map<std::pair<int, int>, std::vector<ArrayPart>> arrays;
  for (const exec::StateArray& array : layout.arrays()) {
    const format::TensorInfo* const tensor = file != nullptr ? &find_state(*file, array) : nullptr;
    for (const exec::StateArray::Part& part : array.parts) {
      auto& row = arrays[{part.chunk, array.state}];
      row.resize(2 * session.trace.chunks[part.chunk].parameters.size());
      row[2 * part.parameter + (array.scales ? 1 : 0)] = {tensor, part.first};
    }
  }
  const auto& buffers = session.state->buffers();
  for (plan::BufferId id = 0; id < static_cast<plan::BufferId>(buffers.size()); ++id) {
    const plan::Buffer& buffer = buffers[id];
    if (buffer.kind != plan::BufferKind::Moment) continue;
    const std::vector<ArrayPart>& of_chunk = arrays[{buffer.chunk, buffer.moment}];
    FillRun fill;
    if (file != nullptr) {
      fill = [&](const exec::StateRun& run, std::int64_t first, std::span<std::byte> into) {
        const ArrayPart& array = of_chunk[2 * run.parameter + (run.scales ? 1 : 0)];
        file->read(*array.tensor, (array.first + run.first + first) * run.item, into);
      };
    } else if (layout.spec(buffer.chunk, buffer.moment).start == optim::Start::Weight) {
      fill = from_weights(loaded, buffer.chunk, staging.subspan(tier::kStripeBytes / sizeof(float)));
    }
    stream_buffer(session, id, std::as_writable_bytes(staging), layout.runs(buffer), fill);
  }
}

}  // namespace

void load_state(Session& session, const format::WeightSource* weights, const format::PiecedTensors* states,
                std::span<float> staging) {
  if (weights != nullptr) format::check_weights(session.config, *weights, expected_tensors(session.trace));
  const Loaded loaded(session, weights);
  for (int chunk = 0; chunk < static_cast<int>(session.trace.chunks.size()); ++chunk)
    (session.trace.chunks[chunk].stored == NumberFormat::Nf4 ? stream_nf4 : stream_weights)(session, chunk, staging,
                                                                                            loaded);
  load_moments(session, loaded, states, staging);
}

void load_residuals(Session& session, const format::PiecedTensors* residuals, std::span<float> staging) {
  const auto& buffers = session.state->buffers();
  const std::span<float> scratch = staging.subspan(tier::kStripeBytes / sizeof(float));
  for (plan::BufferId id = 0; id < static_cast<plan::BufferId>(buffers.size()); ++id) {
    if (buffers[id].kind != plan::BufferKind::Residual) continue;
    const std::vector<plan::ParameterSlot>& slots = session.trace.chunks[buffers[id].chunk].parameters;
    std::vector<exec::StateRun> runs;
    for (int p = 0; p < static_cast<int>(slots.size()); ++p) {
      constexpr Bytes kFloat = sizeof(float);
      runs.push_back({p, false, 0, slots[p].num_elements, slots[p].first_element * kFloat, kFloat});
    }
    const auto add_all = [&](const exec::StateRun& run, std::int64_t first, std::span<std::byte> into) {
      const plan::ParameterSlot& slot = slots[run.parameter];
      const std::span values(reinterpret_cast<float*>(into.data()), into.size() / sizeof(float));
      for (int rank = session.ranks->rank();; rank += session.ranks->count()) {
        const format::TensorInfo* const tensor = residuals->find(residual_name(rank, slot.name));
        if (tensor == nullptr) return;
        residuals->read_wide(*tensor, slot.part_of_tensor + first, scratch.first(values.size()));
        for (std::size_t i = 0; i < values.size(); ++i) values[i] += scratch[i];
      }
    };
    FillRun fill;
    if (residuals != nullptr) fill = add_all;
    stream_buffer(session, id, std::as_writable_bytes(staging), runs, fill);
  }
}

}  // namespace sluice::train
