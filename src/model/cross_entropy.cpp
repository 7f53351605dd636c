#include "model/cross_entropy.h"

#include <ATen/ATen.h>

#include "kernel/cross_entropy.h"
#include "model/place.h"
#include "model/row_kernel.h"
#include "model/torch_operators.h"

namespace sluice::model {
namespace {

// Logits of a piece and what is known of its rows, from one row on.
kernel::SoftmaxRows rows_from(const LogitsPiece& piece, const SoftmaxTile& tile, std::int64_t first,
                              std::int64_t num_rows) {
  const std::int64_t width = piece.logits.size(1);
  float* const known = tile.known.mutable_data_ptr<float>() + first;
  const std::int64_t stride = tile.known.stride(0);
  return {.num_rows = static_cast<std::size_t>(num_rows),
          .width = static_cast<std::size_t>(width),
          .first_column = piece.first_column,
          .logits = write_data(piece.logits) + first * width,
          .targets = tile.targets.const_data_ptr<std::int64_t>() + first,
          .largest = known,
          .sum = known + stride,
          .target_logit = known + 2 * stride};
}

bool begin(const LogitsPiece& piece, int passes) {
  return begin_pass(piece.logits, passes * bytes_of(piece.logits), 10 * passes * piece.logits.numel());
}

}  // namespace

at::Tensor shifted_targets(const at::Tensor& labels_BS) {
  const std::int64_t seq_len = labels_BS.size(1);
  at::Tensor targets = at::empty(labels_BS.sizes(), labels_BS.options());
  targets.narrow(1, 0, seq_len - 1).copy_(labels_BS.narrow(1, 1, seq_len - 1));
  targets.narrow(1, seq_len - 1, 1).fill_(kNoTarget);
  return targets.view({-1});
}

void add_to_softmax(const LogitsPiece& piece, const SoftmaxTile& tile) {
  if (uses_torch()) return torch_operators::add_to_softmax(piece, tile);
  if (!begin(piece, 1)) return;
  for_rows(piece.logits.size(0), piece.logits.size(1), [&](std::int64_t first, std::int64_t last) {
    kernel::add_to_softmax(rows_from(piece, tile, first, last - first));
  });
}

void softmax_gradient(const LogitsPiece& piece, const SoftmaxTile& tile, float scale) {
  if (uses_torch()) return torch_operators::softmax_gradient(piece, tile, scale);
  if (!begin(piece, 2)) return;
  for_rows(piece.logits.size(0), piece.logits.size(1), [&](std::int64_t first, std::int64_t last) {
    kernel::softmax_gradient(rows_from(piece, tile, first, last - first), scale);
  });
}

// Row by row, so that a row stays in the second-level cache from its softmax to its gradient.
void softmax_and_gradient(std::span<const LogitsPiece> pieces, const SoftmaxTile& tile, float scale) {
  if (uses_torch()) {
    for (const LogitsPiece& piece : pieces) add_to_softmax(piece, tile);
    for (const LogitsPiece& piece : pieces) softmax_gradient(piece, tile, scale);
    return;
  }
  bool computes = false;
  std::int64_t width = 0;
  for (const LogitsPiece& piece : pieces) {
    computes = begin(piece, 2);
    width += piece.logits.size(1);
  }
  if (!computes) return;
  for_rows(tile.targets.size(0), width, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      for (const LogitsPiece& piece : pieces) kernel::add_to_softmax(rows_from(piece, tile, row, 1));
      for (const LogitsPiece& piece : pieces) kernel::softmax_gradient(rows_from(piece, tile, row, 1), scale);
    }
  });
}

double add_losses(const SoftmaxTile& tile, std::span<double> rows) {
  if (tile.known.is_meta()) return 0;
  if (!tile.known.is_cpu()) return add_losses({tile.targets.to(at::kCPU), tile.known.to(at::kCPU)}, rows);
  float* const known = tile.known.mutable_data_ptr<float>();
  const std::int64_t stride = tile.known.stride(0);
  const auto num_tokens = static_cast<std::size_t>(tile.targets.size(0));
  const kernel::SoftmaxRows tokens{.num_rows = num_tokens,
                                   .width = 0,
                                   .first_column = 0,
                                   .logits = nullptr,
                                   .targets = tile.targets.const_data_ptr<std::int64_t>(),
                                   .largest = known,
                                   .sum = known + stride,
                                   .target_logit = known + 2 * stride};
  double sum = 0;
  for (std::size_t token = 0; token < num_tokens; ++token) {
    const double loss = kernel::cross_entropy(tokens, token);
    sum += loss;
    if (!rows.empty()) rows[token * rows.size() / num_tokens] += loss;
  }
  return sum;
}

}  // namespace sluice::model
