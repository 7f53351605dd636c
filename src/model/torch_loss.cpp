#include <ATen/ATen.h>

#include "model/held_weight.h"
#include "model/torch_operators.h"

namespace sluice::model::torch_operators {
namespace {

// Of targets or ids: places in a piece of `width` from `first` on, clamped, and which of them are inside.
struct Places {
  at::Tensor index, inside;

  Places(const at::Tensor& numbers, std::int64_t first, std::int64_t width)
      : index(at::sub(numbers, first)), inside(at::ge(index, 0).bitwise_and_(at::lt(index, width))) {
    index.clamp_(0, width - 1);
  }
  /// To mask with: a product with 0 would let NaN and infinity through.
  [[nodiscard]] at::Tensor outside() const { return at::bitwise_not(inside); }
};

// Rows of a table, in fp32. Not every operator knows codes of 8 bits as numbers.
at::Tensor wide_rows(const at::Tensor& table, const at::Tensor& index) {
  if (table.element_size() > 1) return wide_weight(table.index({index}));
  return wide_weight(table.view(at::kByte).index({index}).view(table.scalar_type()));
}

}  // namespace

void add_to_softmax(const LogitsPiece& piece, const SoftmaxTile& tile) {
  const at::Tensor largest = tile.known.select(0, 0), sum = tile.known.select(0, 1), target = tile.known.select(0, 2);
  at::Tensor now = piece.logits.amax(at::IntArrayRef{1});
  const bool begins = piece.first_column == 0;
  if (!begins) at::maximum_out(now, now, largest);
  const at::Tensor added = at::sub(piece.logits, now.unsqueeze(1)).exp_().sum(1);
  if (begins) {
    sum.copy_(added);
    target.zero_();
  } else {
    sum.mul_(at::sub(largest, now).exp_()).add_(added);
  }
  largest.copy_(now);
  const Places places(tile.targets, piece.first_column, piece.logits.size(1));
  const at::Tensor logit = piece.logits.gather(1, places.index.unsqueeze(1)).squeeze(1);
  target.add_(logit.masked_fill_(places.outside(), 0));
}

void softmax_gradient(const LogitsPiece& piece, const SoftmaxTile& tile, float scale) {
  at::Tensor logits = piece.logits;
  const at::Tensor factor = at::reciprocal(tile.known.select(0, 1)).mul_(scale);
  logits.sub_(tile.known.select(0, 0).unsqueeze(1)).exp_().mul_(factor.unsqueeze(1));
  logits.masked_fill_(at::eq(tile.targets, kNoTarget).unsqueeze(1), 0);
  const Places places(tile.targets, piece.first_column, logits.size(1));
  const at::Tensor at_target = places.inside.to(logits.scalar_type()).mul_(-scale).unsqueeze(1);
  logits.scatter_add_(1, places.index.unsqueeze(1), at_target);  // one place a row: no sum has an order to keep
}

void copy_rows(const TableRows& from, const at::Tensor& ids, at::Tensor output) {
  const Places places(ids, from.first_row, from.table.size(0));
  const at::Tensor inside = places.inside.unsqueeze(1);
  at::Tensor rows = wide_rows(from.table, places.index);
  output.masked_fill_(inside, 0).add_(rows.masked_fill_(places.outside().unsqueeze(1), 0));
}

// index_put_ that accumulates sorts, so its sums have an order on every device; index_add_ has none on some.
void add_rows(TableRows to, const at::Tensor& ids, const at::Tensor& dy) {
  const Places places(ids, to.first_row, to.table.size(0));
  const at::Tensor inside = at::masked_fill(dy, places.outside().unsqueeze(1), 0);
  to.table.index_put_({places.index}, inside, /*accumulate=*/true);
}

}  // namespace sluice::model::torch_operators
