#include "exec/tensor_sums.h"

#include <algorithm>
#include <numeric>

#include "base/units.h"

namespace sluice::exec {
namespace {

// A small tensor is so many pieces that threads share it evenly, as long as a piece is worth handing out; a larger one
// is made of pieces of one size, and the largest of so many that their sums stay small beside it.
constexpr std::int64_t kFewPieces = 16, kMostPieces = 512;
constexpr std::int64_t kLeastPiece = 1 << 14, kUsualPiece = 1 << 17;

std::int64_t divided(std::int64_t elements, std::int64_t pieces) { return (elements + pieces - 1) / pieces; }

}  // namespace

std::int64_t piece_elements(std::span<const std::int64_t> shape) {
  const std::int64_t all = optim::num_elements(optim::Extent::Elements, shape);
  const std::int64_t row = shape.size() >= 2 ? std::max<std::int64_t>(shape.back(), 1) : 1;
  const std::int64_t wanted = std::clamp(divided(all, kFewPieces), kLeastPiece, kUsualPiece);
  return round_up(std::max(wanted, divided(all, kMostPieces)), std::lcm(row, optim::kBlock));
}

TensorSums::TensorSums(const plan::StepTrace& trace, int rule, const optim::Measuring& measuring,
                       std::span<const std::int64_t> slice_elements)
    : measuring_(measuring) {
  if (measuring.passes == 0 || slice_elements.empty()) return;
  std::size_t most = 0, most_columns = 0, most_pieces = 0, most_parameters = 0;
  for (std::size_t c = 0; c < trace.chunks.size(); ++c) {
    if (trace.chunks[c].rule != rule) continue;
    std::size_t total = 0, columns = 0;
    for (const plan::ParameterSlot& parameter : trace.chunks[c].parameters) {
      const Lengths sizes = lengths(parameter.shape);
      total += sizes.scalars + sizes.rows + sizes.columns;
      columns += sizes.columns;
      const std::int64_t piece = piece_elements(parameter.shape);
      const std::int64_t at_once = (std::min(slice_elements[c], parameter.num_elements) + piece - 1) / piece + 1;
      most_pieces = std::max(most_pieces, static_cast<std::size_t>(at_once) * (sizes.scalars + sizes.columns));
    }
    most = std::max(most, total);
    most_columns = std::max(most_columns, columns);
    most_parameters = std::max(most_parameters, trace.chunks[c].parameters.size());
  }
  totals_.resize(most);
  factors_.resize(most_columns);
  pieces_.resize(most_pieces);
  of_parameter_.reserve(most_parameters);
}

TensorSums::Lengths TensorSums::lengths(std::span<const std::int64_t> shape) const {
  const auto length = [&](bool wanted, optim::Extent extent) {
    return wanted ? static_cast<std::size_t>(optim::num_elements(extent, shape)) : 0;
  };
  return {static_cast<std::size_t>(measuring_.scalars), length(measuring_.rows, optim::Extent::Rows),
          length(measuring_.columns, optim::Extent::Columns)};
}

void TensorSums::start(const plan::Chunk& chunk) {
  std::ranges::fill(totals_, 0.0);
  of_parameter_.clear();
  std::span<double> sums = totals_;
  std::span<float> factors = factors_;
  const auto take = [](auto& rest, std::size_t count) {
    const auto taken = rest.first(count);
    rest = rest.subspan(count);
    return taken;
  };
  for (const plan::ParameterSlot& parameter : chunk.parameters) {
    const Lengths sizes = lengths(parameter.shape);
    of_parameter_.push_back(
        {take(sums, sizes.scalars), take(sums, sizes.rows), take(sums, sizes.columns), take(factors, sizes.columns)});
  }
}

optim::Sums TensorSums::totals(int parameter) {
  return of_parameter_.empty() ? optim::Sums{} : of_parameter_[parameter];
}

std::span<double> TensorSums::piece_memory(const Lengths& sizes, std::int64_t piece) {
  const std::size_t length = sizes.scalars + sizes.columns;
  if (length == 0) return {};
  const std::size_t places = pieces_.size() / length;
  return std::span(pieces_).subspan(static_cast<std::size_t>(piece) % places * length, length);
}

optim::Sums TensorSums::piece(const plan::ParameterSlot& parameter, int number, std::int64_t piece) {
  const Lengths sizes = lengths(parameter.shape);
  const std::span<double> memory = piece_memory(sizes, piece);
  return {memory.first(sizes.scalars), of_parameter_[number].rows, memory.subspan(sizes.scalars)};
}

TensorSums::Open TensorSums::open(const plan::ParameterSlot& parameter, int number, std::int64_t end) {
  const Lengths sizes = lengths(parameter.shape);
  const std::span<double> first = of_parameter_[number].scalars;  // rows and columns follow
  return {{first.data(), sizes.scalars + sizes.rows + sizes.columns},
          piece_memory(sizes, end / piece_elements(parameter.shape))};
}

void TensorSums::fold(const plan::ParameterSlot& parameter, int number, std::int64_t begin, std::int64_t end) {
  const std::int64_t length = piece_elements(parameter.shape);
  const bool complete = end == parameter.num_elements;
  const std::int64_t stop = complete ? (end + length - 1) / length : end / length;
  const Lengths sizes = lengths(parameter.shape);
  const optim::Sums& into = of_parameter_[number];
  for (std::int64_t piece = begin / length; piece < stop; ++piece) {
    const std::span<double> memory = piece_memory(sizes, piece);
    for (std::size_t i = 0; i < sizes.scalars; ++i) into.scalars[i] += memory[i];
    for (std::size_t i = 0; i < sizes.columns; ++i) into.columns[i] += memory[sizes.scalars + i];
    std::ranges::fill(memory, 0.0);
  }
}

}  // namespace sluice::exec
