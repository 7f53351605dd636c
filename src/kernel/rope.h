// Turns pairs (i, i + half) of every head of a token's row by the angles of the token's position.
#pragma once
#include <cstddef>

namespace sluice::kernel {

/// Row t, `num_heads` heads of 2 * half elements, stands at position t mod seq_len of tables [seq_len, half]. Rows
/// begin `from_stride` and `to_stride` elements apart; `from` and `to` may be the same memory.
struct RotateRows {
  std::size_t seq_len, num_heads, half;
  const float* cosine;
  const float* sine;
  const float* from;
  std::size_t from_stride;
  float* to;
  std::size_t to_stride;
};

/// Rows [first, last) forwards (a' = a cos - b sin, b' = b cos + a sin), or back by the same angles.
void rotate(const RotateRows& rows, std::size_t first, std::size_t last);
void rotate_back(const RotateRows& rows, std::size_t first, std::size_t last);

}  // namespace sluice::kernel
