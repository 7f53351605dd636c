// Sums over whole tensors that change with neither slices nor threads. A tensor is cut into pieces by its shape alone
// (whole rows, whole blocks); each piece is added up in the order of its elements, and the pieces in theirs.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "optim/rule.h"
#include "plan/trace.h"

namespace sluice::exec {

/// Elements of a tensor's pieces.
[[nodiscard]] std::int64_t piece_elements(std::span<const std::int64_t> shape);

/// The sums of one chunk at a time. All memory is taken by the constructor. Runs of a tensor come in ascending order,
/// each in pieces that are measured (by any threads) before `fold`.
class TensorSums {
 public:
  /// Of the chunks with this rule. `slice_elements`: per chunk, the longest run of its elements that comes at once.
  TensorSums(const plan::StepTrace& trace, int rule, const optim::Measuring& measuring,
             std::span<const std::int64_t> slice_elements);

  /// All sums of a chunk are zero.
  void start(const plan::Chunk& chunk);
  [[nodiscard]] optim::Sums totals(int parameter);
  /// Where a piece is added up.
  [[nodiscard]] optim::Sums piece(const plan::ParameterSlot& parameter, int number, std::int64_t piece);
  /// The tensor's elements from `begin` to `end` have been measured: pieces that are complete go into the totals.
  void fold(const plan::ParameterSlot& parameter, int number, std::int64_t begin, std::int64_t end);

  /// All that is known of a tensor whose elements below `end` have been measured: its totals (for the whole tensor
  /// nothing else), and of the piece that `end` cuts what there is of it. Whoever goes on from there needs both.
  struct Open {
    std::span<double> totals, piece;
  };
  [[nodiscard]] Open open(const plan::ParameterSlot& parameter, int number, std::int64_t end);

 private:
  /// Doubles of a tensor of that shape: scalars, rows (not of a piece), columns.
  struct Lengths {
    std::size_t scalars = 0, rows = 0, columns = 0;
  };
  [[nodiscard]] Lengths lengths(std::span<const std::int64_t> shape) const;
  [[nodiscard]] std::span<double> piece_memory(const Lengths& sizes, std::int64_t piece);

  const optim::Measuring measuring_;
  std::vector<double> totals_, pieces_;
  std::vector<float> factors_;
  std::vector<optim::Sums> of_parameter_;  // of the chunk that was started
};

}  // namespace sluice::exec
