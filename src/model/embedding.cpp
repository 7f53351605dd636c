// Token embedding: rows of the table, piece by piece of the vocabulary, plus rows of the table of positions where the
// family has one. The backward adds rows straight into the gradient view; there is no [V,D] temporary.
#include <ATen/ATen.h>

#include <algorithm>
#include <span>
#include <utility>

#include "base/check.h"
#include "model/end_blocks.h"
#include "model/held_weight.h"
#include "model/op_cost.h"
#include "model/parallel.h"
#include "model/place.h"
#include "model/row_kernel.h"
#include "model/torch_operators.h"

namespace sluice::model {
namespace {

// Each piece costs the rows that it is likely to hold.
void record_rows(const at::Tensor& rows, int passes, std::size_t num_pieces) {
  const auto pieces = static_cast<std::int64_t>(num_pieces);
  plan::OpCost cost;
  cost.bytes = passes * rows.numel() * static_cast<Bytes>(rows.element_size()) / pieces;
  cost.flops = static_cast<Flops>(rows.numel() / pieces);
  record_cost(cost);
}

// Writes the rows of the tokens in the piece, as fp32; those of others are left alone.
void copy_rows(const at::Tensor& table, const VocabularyPiece& piece, const at::Tensor& ids, const at::Tensor& output) {
  const std::int64_t width = table.size(1);
  SLUICE_CHECK(table.is_contiguous(), "expected rows without gaps");
  const NumberFormat held = held_format(table.scalar_type());
  const auto* const from = static_cast<const std::byte*>(table.const_data_ptr());
  const Bytes row_bytes = stored_bytes(held, width);
  float* const to = write_data(output);
  const auto* id = ids.const_data_ptr<std::int64_t>();
  for_rows(ids.numel(), width, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t t = first; t < last; ++t) {
      const std::int64_t row = id[t] - piece.first_row;
      if (row < 0 || row >= piece.num_rows) continue;
      widen(held, from + row * row_bytes, {to + t * width, static_cast<std::size_t>(width)});
    }
  });
}

// Threads own ranges of columns and walk the tokens in order: no races, and every element sums in token order.
void add_rows(const at::Tensor& gradient, const VocabularyPiece& piece, const at::Tensor& ids, const at::Tensor& dy) {
  const std::int64_t width = dy.size(1), num_tokens = dy.size(0), row_stride = gradient.stride(0);
  SLUICE_CHECK(gradient.stride(1) == 1 && dy.is_contiguous() && ids.is_contiguous());
  const float* from = dy.const_data_ptr<float>();
  const auto* id = ids.const_data_ptr<std::int64_t>();
  auto* to = gradient.mutable_data_ptr<float>();
  constexpr std::int64_t kColumns = 64;  // whole cache lines per thread
  parallel_ranges((width + kColumns - 1) / kColumns, 1, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t first = begin * kColumns, last = std::min(end * kColumns, width);
    for (std::int64_t t = 0; t < num_tokens; ++t) {
      const std::int64_t index = id[t] - piece.first_row;
      if (index < 0 || index >= piece.num_rows) continue;
      float* row = to + index * row_stride;
      const float* added = from + t * width;
      for (std::int64_t c = first; c < last; ++c) row[c] += added[c];
    }
  });
}

class EmbeddingBlock final : public Block {
 public:
  EmbeddingBlock(const format::ModelConfig& config, std::vector<VocabularyPiece> pieces, std::string name)
      : name_(std::move(name)),
        pieces_(std::move(pieces)),
        hidden_size_(config.hidden_size),
        learned_positions_(config.learned_positions) {}
  std::string name() const override { return name_; }
  std::string trace_key() const override { return "embedding"; }

  at::Tensor forward(std::span<const at::Tensor> parameters, const at::Tensor&,
                     const MicroBatch& batch) const override {
    return embed(parameters, batch, 0);
  }

  at::Tensor decode(std::span<const at::Tensor> parameters, const at::Tensor&, const KvCache&, std::int64_t position,
                    const MicroBatch& batch) const override {
    return embed(parameters, batch, position);
  }

  at::Tensor backward(const BackwardInputs& in, SavedTensors) const override {
    for (std::size_t piece = 0; piece < pieces_.size(); ++piece)
      add_piece(piece, in.gradients[piece], in.batch, in.output_gradient);
    if (learned_positions_) add_positions(in.gradients.back(), in.output_gradient);
    return {};
  }

  std::vector<Segment> segments(Computation computation) const override {
    std::vector<Segment> segments;
    if (pieces_.size() == 1) return segments;
    for (int piece = 0; piece < static_cast<int>(pieces_.size()); ++piece) {
      std::vector<int> taken = {piece};
      if (learned_positions_ && is_last(piece)) taken.push_back(piece + 1);
      const bool backward = computation == Computation::Backward;
      segments.push_back(backward ? Segment{{}, std::move(taken)} : Segment{std::move(taken), {}});
    }
    return segments;
  }

  double run_segment(Computation computation, int index, const BlockTensors& t) const override {
    const auto piece = static_cast<std::size_t>(index);
    const bool with_positions = learned_positions_ && is_last(index);
    if (computation == Computation::Backward) {
      add_piece(piece, t.gradients[0], t.batch, t.output_gradient);
      if (with_positions) add_positions(t.gradients[1], t.output_gradient);
    } else {
      copy_piece(piece, t.parameters[0], t.batch, t.output);
      if (with_positions) apply_positions(t.parameters[1], t.position.first, t.output);
    }
    return 0;
  }

 private:
  bool is_last(int piece) const { return piece + 1 == static_cast<int>(pieces_.size()); }

  at::Tensor embed(std::span<const at::Tensor> parameters, const MicroBatch& batch, std::int64_t position) const {
    const auto tokens = batch.input_ids.sizes();
    at::Tensor output = at::empty({tokens[0], tokens[1], hidden_size_}, parameters[0].options().dtype(at::kFloat));
    for (std::size_t piece = 0; piece < pieces_.size(); ++piece) copy_piece(piece, parameters[piece], batch, output);
    if (learned_positions_) apply_positions(parameters.back(), position, output);
    return output;
  }

  void copy_piece(std::size_t piece, const at::Tensor& table, const MicroBatch& batch, const at::Tensor& output) const {
    const at::Tensor ids = batch.input_ids.reshape({-1}).contiguous();
    if (uses_torch())
      return torch_operators::copy_rows({table, pieces_[piece].first_row}, ids, output.view({-1, hidden_size_}));
    record_rows(output, 2, pieces_.size());
    if (output.is_meta()) return;
    copy_rows(table, pieces_[piece], ids, output);
  }

  // A pass of generation may be filled up beyond the last position: nobody reads those tokens.
  static void apply_positions(const at::Tensor& positions, std::int64_t first, const at::Tensor& output) {
    const std::int64_t count = std::min(output.size(1), positions.size(0) - first);
    output.narrow(1, 0, count).add_(wide_weight(positions.narrow(0, first, count)));
  }

  void add_piece(std::size_t piece, const at::Tensor& gradient, const MicroBatch& batch, const at::Tensor& dy) const {
    if (!gradient.defined()) return;
    if (uses_torch()) {
      const at::Tensor ids = batch.input_ids.reshape({-1}).contiguous();
      torch_operators::add_rows({gradient, pieces_[piece].first_row}, ids, dy.reshape({-1, hidden_size_}));
      return;
    }
    record_rows(dy, 3, pieces_.size());
    if (!dy.is_meta())
      add_rows(gradient, pieces_[piece], batch.input_ids.reshape({-1}).contiguous(), dy.reshape({-1, hidden_size_}));
  }

  static void add_positions(const at::Tensor& gradient, const at::Tensor& dy) {
    if (!gradient.defined()) return;
    at::Tensor positions = gradient.narrow(0, 0, dy.size(1));
    for (std::int64_t b = 0; b < dy.size(0); ++b) positions.add_(dy.select(0, b));
  }

  std::string name_;
  std::vector<VocabularyPiece> pieces_;
  std::int64_t hidden_size_;
  bool learned_positions_;
};

}  // namespace

std::unique_ptr<Block> make_embedding_block(const format::ModelConfig& config, std::vector<VocabularyPiece> pieces,
                                            std::string name) {
  return std::make_unique<EmbeddingBlock>(config, std::move(pieces), std::move(name));
}

}  // namespace sluice::model
