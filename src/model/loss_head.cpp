// The head: final norm, output projection and cross entropy, one tile of tokens at a time, so that logits never stand
// whole. Whole, it makes the logits of all pieces of the vocabulary for a tile and from them loss and gradients; in
// segments, one piece at a time for all tokens. Both do the same sums in the same order.
#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/units.h"
#include "model/cross_entropy.h"
#include "model/end_blocks.h"
#include "model/norm.h"
#include "model/product.h"

namespace sluice::model {
namespace {

class LossHead final : public LossBlock {
 public:
  LossHead(std::vector<VocabularyPiece> pieces, Norm norm, std::string name, NumberFormat compute)
      : name_(std::move(name)),
        pieces_(std::move(pieces)),
        norm_(norm),
        compute_(compute),
        tile_(loss_tile(vocab_size())) {}
  std::string name() const override { return name_; }
  std::string trace_key() const override { return "loss_head"; }

  double loss(const BlockTensors& whole) const override {
    const at::NoGradGuard no_grad;
    BlockTensors t = whole;
    t.scratch = at::empty({scratch_elements({t.input.size(0), t.input.size(1)})}, t.input.options());
    double sum = 0;
    for (std::size_t piece = 0; piece < pieces_.size(); ++piece) {
      t.parameters.assign(whole.parameters.begin(), whole.parameters.begin() + num_norm());
      t.parameters.push_back(whole.parameters[num_norm() + piece]);
      sum += add_piece(piece, t);
    }
    return sum;
  }

  double loss_and_gradients(std::span<const at::Tensor> parameters, std::span<const at::Tensor> gradients,
                            const at::Tensor& input, const at::Tensor& input_gradient, const MicroBatch& batch,
                            float scale) const override {
    const at::NoGradGuard no_grad;
    const at::Tensor dx = input_gradient.view({-1, input.size(2)});
    if (input.size(1) == 1) {  // nothing to predict
      dx.zero_();
      return 0;
    }
    const at::Tensor x = input.reshape({-1, input.size(2)});
    const SoftmaxTile all{shifted_targets(batch.labels), at::empty({kSoftmaxValues, x.size(0)}, x.options())};
    const at::Tensor memory = at::empty({largest_tile(x.size(0)) * vocab_size()}, x.options());
    std::vector<at::Tensor> weights;
    for (std::size_t p = 0; p < pieces_.size(); ++p) weights.push_back(as_input(parameters[num_norm() + p]));
    for_tiles(x.size(0), [&](std::int64_t row, std::int64_t n) {
      run_tile({parameters, gradients, weights, x.narrow(0, row, n), dx.narrow(0, row, n), part(all, row, n), scale},
               memory);
    });
    return add_losses(all);
  }

  at::Tensor logits(std::span<const at::Tensor> parameters, const at::Tensor& input) const override {
    const at::NoGradGuard no_grad;
    const at::Tensor x = input.reshape({-1, input.size(2)});
    at::Tensor logits = at::empty({x.size(0), vocab_size()}, x.options());
    for (std::size_t piece = 0; piece < pieces_.size(); ++piece)
      write_logits(piece, norm_.weights(parameters), parameters[num_norm() + piece], x, logits);
    return logits.view({input.size(0), input.size(1), -1});
  }

  // Those of Backward are first each piece's part of the softmax, then each piece's gradients.
  std::vector<Segment> segments(Computation computation) const override {
    std::vector<Segment> segments;
    if (pieces_.size() == 1) return segments;
    std::vector<int> norm(num_norm());
    std::iota(norm.begin(), norm.end(), 0);
    const auto with = [](std::vector<int> positions, std::size_t position) {
      positions.push_back(static_cast<int>(position));
      return positions;
    };
    for (std::size_t p = 0; p < pieces_.size(); ++p) segments.push_back({with(norm, num_norm() + p), {}});
    if (computation != Computation::Backward) return segments;
    for (std::size_t p = 0; p < pieces_.size(); ++p) {
      const bool last = p + 1 == pieces_.size();
      segments.push_back({with(norm, num_norm() + p), with(last ? norm : std::vector<int>(), num_norm() + p)});
    }
    return segments;
  }

  std::int64_t scratch_elements(BatchShape shape) const override {
    return kSoftmaxValues * shape.micro_batch_size * shape.seq_len;
  }

  double run_segment(Computation computation, int index, const BlockTensors& t) const override {
    const auto piece = static_cast<std::size_t>(index) % pieces_.size();
    if (computation == Computation::Generate) {
      const at::Tensor last = t.input.narrow(1, t.position.num_tokens - 1, 1);
      at::Tensor logits = t.output.view({-1, vocab_size()});
      write_logits(piece, norm_.weights(t.parameters), t.parameters.back(), last.reshape({-1, last.size(2)}), logits);
      return 0;
    }
    if (static_cast<std::size_t>(index) < pieces_.size()) return add_piece(piece, t);
    add_gradients(piece, t);
    return 0;
  }

 private:
  struct Tile {
    std::span<const at::Tensor> parameters, gradients;
    std::span<const at::Tensor> weights;  // of the pieces, as products take them
    at::Tensor x, dx;
    SoftmaxTile softmax;
    float scale;
  };

  at::Tensor as_input(const at::Tensor& x) const { return product_input(x, compute_); }

  std::size_t num_norm() const { return norm_.num_parameters(); }
  std::int64_t vocab_size() const { return pieces_.back().first_row + pieces_.back().num_rows; }

  std::int64_t largest_tile(std::int64_t num_rows) const { return std::min(num_rows, tile_ + 1); }

  // A rest of one row joins the last tile: a sum over a single row would be split among threads.
  template <typename Body>
  void for_tiles(std::int64_t num_rows, const Body& body) const {
    for (std::int64_t row = 0, n = 0; row < num_rows; row += n) {
      n = num_rows - row <= tile_ + 1 ? num_rows - row : tile_;
      body(row, n);
    }
  }

  static SoftmaxTile part(const SoftmaxTile& all, std::int64_t row, std::int64_t n) {
    return {all.targets.narrow(0, row, n), all.known.narrow(1, row, n)};
  }

  SoftmaxTile all_tokens(const BlockTensors& t) const {
    at::Tensor targets = shifted_targets(t.batch.labels);
    at::Tensor known = t.scratch.narrow(0, 0, kSoftmaxValues * targets.numel()).view({kSoftmaxValues, -1});
    return {std::move(targets), std::move(known)};
  }

  // Logits of one piece in `memory`, from its element `first` on; `y` and `weight` as products take them.
  LogitsPiece logits_of(std::size_t piece, const at::Tensor& y, const at::Tensor& weight, const at::Tensor& memory,
                        std::int64_t first) const {
    const std::int64_t width = pieces_[piece].num_rows;
    const at::Tensor logits = memory.narrow(0, first, y.size(0) * width).view({y.size(0), width});
    product_out(logits, y, weight.t());
    return {logits, pieces_[piece].first_row};
  }

  void run_tile(const Tile& t, const at::Tensor& memory) const {
    const NormWeights norm_weights = norm_.weights(t.parameters);
    const Norm::Result norm = norm_.forward(norm_weights, t.x);
    const at::Tensor y = as_input(norm.y);
    std::vector<LogitsPiece> logits;
    for (std::size_t p = 0; p < pieces_.size(); ++p) {
      const std::int64_t first = t.x.size(0) * pieces_[p].first_row;
      logits.push_back(logits_of(p, y, t.weights[p], memory, first));
    }
    softmax_and_gradient(logits, t.softmax, t.scale);
    for (std::size_t p = 0; p < pieces_.size(); ++p)
      multiply_back({as_input(logits[p].logits), y, t.weights[p]}, t.gradients[num_norm() + p], p == 0, t.dx);
    norm_.backward(norm_weights, norm_.weights(t.gradients),
                   {t.x, norm.statistics, /*dy=*/t.dx, /*residual=*/{}, t.dx});
  }

  struct Product {
    const at::Tensor &d_logits, &y, &weight;  // as products take them
  };
  static void multiply_back(const Product& product, const at::Tensor& weight_gradient, bool begins,
                            const at::Tensor& dy) {
    if (weight_gradient.defined()) add_product(weight_gradient, product.d_logits.t(), product.y);
    if (begins) {
      product_out(dy, product.d_logits, product.weight);
    } else {
      add_product(dy, product.d_logits, product.weight);
    }
  }

  // With the last piece the softmax is known, and with it the loss.
  double add_piece(std::size_t piece, const BlockTensors& t) const {
    if (t.input.size(1) == 1) return 0;
    const at::Tensor x = t.input.reshape({-1, t.input.size(2)});
    const SoftmaxTile all = all_tokens(t);
    const at::Tensor memory = at::empty({largest_tile(x.size(0)) * pieces_[piece].num_rows}, x.options());
    const at::Tensor weight = as_input(t.parameters.back());
    for_tiles(x.size(0), [&](std::int64_t row, std::int64_t n) {
      const at::Tensor y = as_input(norm_.forward(norm_.weights(t.parameters), x.narrow(0, row, n)).y);
      add_to_softmax(logits_of(piece, y, weight, memory, 0), part(all, row, n));
    });
    return piece + 1 < pieces_.size() ? 0 : add_losses(all, t.row_losses);
  }

  void add_gradients(std::size_t piece, const BlockTensors& t) const {
    const at::Tensor dx = t.input_gradient.view({-1, t.input.size(2)});
    if (t.input.size(1) == 1) {
      dx.zero_();
      return;
    }
    const at::Tensor x = t.input.reshape({-1, t.input.size(2)});
    const SoftmaxTile all = all_tokens(t);
    const NormWeights norm_weights = norm_.weights(t.parameters);
    const at::Tensor memory = at::empty({largest_tile(x.size(0)) * pieces_[piece].num_rows}, x.options());
    const at::Tensor weight = as_input(t.parameters.back());
    for_tiles(x.size(0), [&](std::int64_t row, std::int64_t n) {
      const at::Tensor x_tile = x.narrow(0, row, n), dx_tile = dx.narrow(0, row, n);
      const Norm::Result norm = norm_.forward(norm_weights, x_tile);
      const at::Tensor y = as_input(norm.y);
      const LogitsPiece logits = logits_of(piece, y, weight, memory, 0);
      softmax_gradient(logits, part(all, row, n), t.scale);
      multiply_back({as_input(logits.logits), y, weight}, t.gradients.back(), piece == 0, dx_tile);
      if (piece + 1 < pieces_.size()) return;
      norm_.backward(norm_weights, norm_.weights(t.gradients),
                     {x_tile, norm.statistics, /*dy=*/dx_tile, /*residual=*/{}, dx_tile});
    });
  }

  void write_logits(std::size_t piece, const NormWeights& norm_weights, const at::Tensor& weight, const at::Tensor& x,
                    const at::Tensor& logits) const {
    const at::Tensor columns = logits.narrow(1, pieces_[piece].first_row, pieces_[piece].num_rows);
    product_out(columns, as_input(norm_.forward(norm_weights, x).y), as_input(weight).t());
  }

  std::string name_;
  std::vector<VocabularyPiece> pieces_;
  Norm norm_;
  NumberFormat compute_;
  std::int64_t tile_;
};

}  // namespace

std::int64_t loss_tile(std::int64_t vocab_size) {
  constexpr std::int64_t kLargest = 512, kSmallest = 16, kLogitsBytes = 48 * MiB;
  std::int64_t tile = kLargest;
  while (tile > kSmallest && tile * vocab_size * static_cast<Bytes>(sizeof(float)) > kLogitsBytes) tile /= 2;
  return tile;
}

std::unique_ptr<LossBlock> make_loss_head(std::vector<VocabularyPiece> pieces, Norm norm, std::string name,
                                          NumberFormat compute) {
  return std::make_unique<LossHead>(std::move(pieces), norm, std::move(name), compute);
}

}  // namespace sluice::model
