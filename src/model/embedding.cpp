// Token embedding: rows of the table, plus rows of the table of positions where the family has one. The backward adds
// rows straight into the gradient view; there is no [V,D] temporary.
#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "model/end_blocks.h"
#include "model/op_cost.h"
#include "model/parallel.h"

namespace sluice::model {
namespace {

void record_rows(const at::Tensor& rows, int passes) {
  plan::OpCost cost;
  cost.bytes = passes * rows.numel() * static_cast<Bytes>(rows.element_size());
  cost.flops = static_cast<Flops>(rows.numel());
  record_cost(cost);
}

// Threads own ranges of columns and walk the tokens in order: no races, and every element sums in token order.
void add_rows(const at::Tensor& gradient, const at::Tensor& ids, const at::Tensor& dy) {
  record_rows(dy, 3);
  if (dy.is_meta()) return;
  if (!dy.is_cpu()) {
    gradient.index_add_(0, ids, dy);
    return;
  }
  const std::int64_t width = dy.size(1), num_tokens = dy.size(0), row_stride = gradient.stride(0);
  SLUICE_CHECK(gradient.stride(1) == 1 && dy.is_contiguous() && ids.is_contiguous());
  const float* from = dy.const_data_ptr<float>();
  const auto* id = ids.const_data_ptr<std::int64_t>();
  auto* to = gradient.mutable_data_ptr<float>();
  constexpr std::int64_t kColumns = 64;  // whole cache lines per thread
  parallel_ranges((width + kColumns - 1) / kColumns, 1, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t first = begin * kColumns, last = std::min(end * kColumns, width);
    for (std::int64_t t = 0; t < num_tokens; ++t) {
      float* row = to + id[t] * row_stride;
      const float* added = from + t * width;
      for (std::int64_t c = first; c < last; ++c) row[c] += added[c];
    }
  });
}

class EmbeddingBlock final : public Block {
 public:
  EmbeddingBlock(const format::ModelConfig& config, std::string name)
      : name_(std::move(name)), hidden_size_(config.hidden_size), learned_positions_(config.learned_positions) {}
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
    const at::Tensor ids = in.batch.input_ids.reshape({-1}), dy = in.output_gradient.reshape({-1, hidden_size_});
    if (in.gradients[0].defined()) add_rows(in.gradients[0], ids, dy);
    if (!learned_positions_ || !in.gradients[1].defined()) return {};
    const std::int64_t num_sequences = in.output_gradient.size(0), seq_len = in.output_gradient.size(1);
    at::Tensor positions = in.gradients[1].narrow(0, 0, seq_len);
    for (std::int64_t b = 0; b < num_sequences; ++b) positions.add_(in.output_gradient.select(0, b));
    return {};
  }

 private:
  at::Tensor embed(std::span<const at::Tensor> parameters, const MicroBatch& batch, std::int64_t position) const {
    const at::Tensor& table = parameters[0];
    const std::int64_t seq_len = batch.input_ids.size(1);
    at::Tensor output = at::empty({batch.input_ids.size(0), seq_len, hidden_size_}, table.options());
    record_rows(output, 2);
    at::Tensor rows = output.view({-1, hidden_size_});
    if (!output.is_meta()) at::index_select_out(rows, table, 0, batch.input_ids.reshape({-1}));
    if (!learned_positions_) return output;
    // A pass of generation may be filled up beyond the last position: nobody reads those tokens.
    const std::int64_t count = std::min(seq_len, parameters[1].size(0) - position);
    output.narrow(1, 0, count).add_(parameters[1].narrow(0, position, count));
    return output;
  }

  std::string name_;
  std::int64_t hidden_size_;
  bool learned_positions_;
};

}  // namespace

std::unique_ptr<Block> make_embedding_block(const format::ModelConfig& config, std::string name) {
  return std::make_unique<EmbeddingBlock>(config, std::move(name));
}

}  // namespace sluice::model
