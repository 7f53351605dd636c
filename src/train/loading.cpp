#include "train/loading.h"

#include <algorithm>

#include "model/init.h"

namespace sluice::train {
namespace {

using Fill = std::function<void(std::size_t parameter, std::int64_t first, std::span<float> into)>;

// One chunk's elements in pieces; `fill` makes the part of one parameter, padding stays zero.
void stream_chunk(Session& session, plan::BufferKind kind, int chunk, int moment, std::span<float> staging,
                  const Fill& fill) {
  const plan::Chunk& layout = session.trace.chunks[chunk];
  const auto piece = static_cast<std::int64_t>(staging.size()) / exec::State::kPiece * exec::State::kPiece;
  for (std::int64_t first = 0; first < layout.num_elements; first += piece) {
    const std::int64_t count = std::min(piece, layout.num_elements - first);
    const auto part = staging.first(static_cast<std::size_t>(count));
    std::fill(part.begin(), part.end(), 0.0F);
    for (std::size_t p = 0; fill && p < layout.parameters.size(); ++p) {
      const plan::ParameterSlot& parameter = layout.parameters[p];
      const std::int64_t begin = std::max(first, parameter.first_element);
      const std::int64_t end = std::min(first + count, parameter.first_element + parameter.num_elements);
      if (begin < end) fill(p, begin - parameter.first_element, part.subspan(begin - first, end - begin));
    }
    session.state->write(kind, chunk, moment, first, part);
  }
}

}  // namespace

std::vector<format::TensorInfo> expected_tensors(const plan::StepTrace& trace) {
  std::vector<format::TensorInfo> expected;
  for (const plan::PublishedTensor& tensor : plan::published_tensors(trace.chunks))
    expected.push_back({tensor.name, "F32", tensor.shape});
  return expected;
}

void load_state(Session& session, const format::WeightSource* weights, const format::WeightSource* states,
                std::span<float> staging) {
  if (weights != nullptr) format::check_weights(session.config, *weights, expected_tensors(session.trace));
  for (int chunk = 0; chunk < static_cast<int>(session.trace.chunks.size()); ++chunk) {
    const auto& parameters = session.trace.chunks[chunk].parameters;
    stream_chunk(session, plan::BufferKind::Weight, chunk, -1, staging,
                 [&](std::size_t p, std::int64_t first, std::span<float> into) {
                   if (weights != nullptr) {
                     weights->read(parameters[p].name, parameters[p].part_of_tensor + first, into);
                   } else {
                     model::init_parameter(session.model.chunks[chunk].parameters[p], session.settings.seed,
                                           parameters[p].part_of_tensor + first, into);
                   }
                 });
    for (int moment = 0; moment < session.request.recipe.num_moments; ++moment) {
      Fill fill;
      const std::string state = session.rule->states()[moment].name;
      if (states != nullptr)
        fill = [&](std::size_t p, std::int64_t first, std::span<float> into) {
          states->read(state + "/" + parameters[p].name, parameters[p].part_of_tensor + first, into);
        };
      stream_chunk(session, plan::BufferKind::Moment, chunk, moment, staging, fill);
    }
  }
  session.state->commit();
}

}  // namespace sluice::train
