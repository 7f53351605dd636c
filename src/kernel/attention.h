// What attention does to tiles of scores between its matrix products.
#pragma once
#include <cstddef>

namespace sluice::kernel {

/// `num_rows` rows of `width` scores, one after the other: query r mod `queries` of some head, which sees the first
/// `first_visible` + r mod `queries` keys of the tile (all, if that is more than there are).
struct ScoreRows {
  std::size_t num_rows, width, queries, first_visible;
  float* scores;
};

/// Sums of a softmax that grows tile by tile, one number or row of `width` elements per row of scores.
struct RunningSoftmax {
  float* maximum;
  float* sum;
  float* out;
  std::size_t width;
};

/// scores = e^(score - maximum so far), 0 where the query may not see. Updates maximum and sum, and scales down what
/// `out` holds of the tiles before; `is_first`: there are none.
void softmax_step(const ScoreRows& rows, const RunningSoftmax& running, bool is_first);

/// scores = the probabilities p, from each row's log of the sum of exponentials; gradients (of p, in the same layout) =
/// p * (gradient - mean[row]), the gradient of the scores. 0 where the query may not see.
void softmax_backward(const ScoreRows& rows, float* gradients, const float* logsumexp, const float* mean);

/// Rows `from_stride` and `to_stride` elements apart.
struct CopyRows {
  std::size_t num_rows, width;
  const float* from;
  std::size_t from_stride;
  float* to;
  std::size_t to_stride;
};
/// to = factor * from.
void copy_scaled(const CopyRows& rows, float factor);

struct DotRows {
  std::size_t num_rows, width;
  const float* a;
  std::size_t a_stride;
  const float* b;
  std::size_t b_stride;
};
/// dots[row] = sum of a * b.
void row_dots(const DotRows& rows, float* dots);

}  // namespace sluice::kernel
