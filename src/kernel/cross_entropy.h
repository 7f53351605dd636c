// Softmax cross entropy of rows of logits whose columns, the vocabulary, come in pieces: what is known of a row's
// softmax grows piece by piece, then each piece's gradient is written over its logits.
#pragma once
#include <cstddef>
#include <cstdint>

namespace sluice::kernel {

/// Rows of the logits of one piece, and what is known of each row so far.
struct SoftmaxRows {
  std::size_t num_rows, width;
  std::int64_t first_column;  ///< of the piece, in the vocabulary
  float* logits;              ///< [num_rows, width]
  const std::int64_t*
      targets;          ///< columns of the vocabulary, perhaps of another piece; negative: the row is passed over
  float* largest;       ///< per row: the largest logit
  float* sum;           ///< per row: of e^(logit - largest)
  float* target_logit;  ///< per row, once its piece has come
};

/// Adds a piece to what is known; the one whose `first_column` is 0 begins. The logits are not changed.
void add_to_softmax(const SoftmaxRows& rows);
/// Writes the gradient over the logits of a piece, once all pieces are known: scale * (e^(logit - largest) / sum), less
/// `scale` at the target; 0 in rows without one.
void softmax_gradient(const SoftmaxRows& rows, float scale);
/// Of row `row`, once all pieces are known: log(sum of e^logit) - logit of the target; 0 without target.
[[nodiscard]] double cross_entropy(const SoftmaxRows& rows, std::size_t row);

}  // namespace sluice::kernel
