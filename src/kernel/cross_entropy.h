// Softmax cross entropy of rows of logits, with its gradient written over them: memory sees one read and one write, for
// a row stays in the second-level cache between its passes.
#pragma once
#include <cstddef>
#include <cstdint>

namespace sluice::kernel {

/// Rows of `width` logits; a target is an index below `width`, or negative: the row counts for nothing.
struct CrossEntropyRows {
  std::size_t num_rows, width;
  float* logits;
  const std::int64_t* targets;
  double* losses;  ///< one per row, written: log(sum of e^logit) - logit of the target; 0 without target
};

/// Losses alone; the logits are not changed.
void cross_entropy(const CrossEntropyRows& rows);
/// Losses, and scale * their gradient over the logits.
void cross_entropy_gradient(const CrossEntropyRows& rows, float scale);

}  // namespace sluice::kernel
