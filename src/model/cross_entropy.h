// Cross entropy of a tile of tokens whose logits come in pieces of the vocabulary; gradients take their memory.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace sluice::model {

inline constexpr std::int64_t kNoTarget = -100;

/// Targets [B*S] of labels [B,S]: position t is to predict label t + 1; the last position predicts nothing.
[[nodiscard]] at::Tensor shifted_targets(const at::Tensor& labels_BS);

/// Logits [n,w] of n tokens for the columns of the vocabulary from `first_column` on.
struct LogitsPiece {
  at::Tensor logits;
  std::int64_t first_column = 0;
};

/// n tokens' targets [n], and what is known of the softmax of each: [kSoftmaxValues,n], columns perhaps of a larger
/// one.
struct SoftmaxTile {
  at::Tensor targets, known;
};
inline constexpr std::int64_t kSoftmaxValues = 3;

/// Adds a piece to what is known; the first column's piece begins. The logits are not changed.
void add_to_softmax(const LogitsPiece& piece, const SoftmaxTile& tile);
/// Overwrites the logits of a piece with scale * d(sum of losses)/d(logits), once all pieces are known.
void softmax_gradient(const LogitsPiece& piece, const SoftmaxTile& tile, float scale);
/// Both for all pieces of a vocabulary in their order, with the same bits.
void softmax_and_gradient(std::span<const LogitsPiece> pieces, const SoftmaxTile& tile, float scale);
/// Sum of the losses in the order of the tokens, once all pieces are known; 0 on meta. With `rows`, which divide the
/// tokens evenly, each row's is added there as well.
[[nodiscard]] double add_losses(const SoftmaxTile& tile, std::span<double> rows = {});

}  // namespace sluice::model
