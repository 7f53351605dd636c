// The head: final norm, output projection and cross entropy, one tile of tokens at a time, so that logits never stand
// whole. Loss, gradients of both parameters and of the input come out of one pass.
#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "base/units.h"
#include "model/cross_entropy.h"
#include "model/end_blocks.h"
#include "model/norm.h"

namespace sluice::model {
namespace {

class LossHead final : public LossBlock {
 public:
  LossHead(std::int64_t vocab_size, Norm norm, std::string name)
      : name_(std::move(name)), norm_(norm), tile_(loss_tile(vocab_size)) {}
  std::string name() const override { return name_; }
  std::string trace_key() const override { return "loss_head"; }

  double loss(std::span<const at::Tensor> parameters, const at::Tensor& input, const MicroBatch& batch) const override {
    return run(parameters, input, batch, nullptr);
  }

  double loss_and_gradients(std::span<const at::Tensor> parameters, std::span<const at::Tensor> gradients,
                            const at::Tensor& input, const at::Tensor& input_gradient, const MicroBatch& batch,
                            float scale) const override {
    const Backward backward{gradients, input_gradient.view({-1, input.size(2)}), scale};
    return run(parameters, input, batch, &backward);
  }

  at::Tensor logits(std::span<const at::Tensor> parameters, const at::Tensor& input) const override {
    const at::NoGradGuard no_grad;
    const at::Tensor x = input.reshape({-1, input.size(2)});
    const at::Tensor normalised = norm_.forward(norm_.weights(parameters), x).y;
    return at::mm(normalised, projection(parameters).t()).view({input.size(0), input.size(1), -1});
  }

 private:
  struct Backward {
    std::span<const at::Tensor> gradients;
    at::Tensor dx;  // [T,D]
    float scale;
  };

  // Stands behind the norm's parameters.
  const at::Tensor& projection(std::span<const at::Tensor> tensors) const { return tensors[norm_.num_parameters()]; }

  // A rest of one row joins the last tile: a sum over a single row would be split among threads.
  std::int64_t rows_from(std::int64_t row, std::int64_t num_rows) const {
    const std::int64_t rest = num_rows - row;
    return rest <= tile_ + 1 ? rest : tile_;
  }

  double run(std::span<const at::Tensor> parameters, const at::Tensor& input, const MicroBatch& batch,
             const Backward* backward) const {
    const at::NoGradGuard no_grad;
    if (input.size(1) == 1) {  // nothing to predict
      if (backward != nullptr) backward->dx.zero_();
      return 0;
    }
    const at::Tensor x = input.reshape({-1, input.size(2)});
    const at::Tensor targets = shifted_targets(batch.labels);
    const std::int64_t num_rows = x.size(0);
    at::Tensor logits = at::empty({std::min(num_rows, tile_ + 1), projection(parameters).size(0)}, x.options());
    at::Tensor loss_sum = at::zeros({}, x.options().dtype(at::kDouble));
    for (std::int64_t row = 0, n = 0; row < num_rows; row += n) {
      n = rows_from(row, num_rows);
      at::Tensor tile = logits.narrow(0, 0, n);
      run_tile(parameters, x.narrow(0, row, n), targets.narrow(0, row, n), tile, loss_sum, backward, row);
    }
    return loss_sum.is_meta() ? 0 : loss_sum.item<double>();
  }

  void run_tile(std::span<const at::Tensor> parameters, const at::Tensor& x, const at::Tensor& targets,
                at::Tensor& logits, at::Tensor& loss_sum, const Backward* backward, std::int64_t row) const {
    const at::Tensor& weight = projection(parameters);
    const NormWeights norm_weights = norm_.weights(parameters);
    const Norm::Result norm = norm_.forward(norm_weights, x);
    at::mm_out(logits, norm.y, weight.t());
    cross_entropy_tile(logits, targets, loss_sum, backward != nullptr, backward != nullptr ? backward->scale : 1.0F);
    if (backward == nullptr) return;
    at::Tensor weight_gradient = projection(backward->gradients);
    if (weight_gradient.defined()) weight_gradient.addmm_(logits.t(), norm.y);
    at::Tensor dx = backward->dx.narrow(0, row, x.size(0));
    at::mm_out(dx, logits, weight);
    norm_.backward(norm_weights, norm_.weights(backward->gradients),
                   {x, norm.statistics, /*dy=*/dx, /*residual=*/{}, dx});
  }

  std::string name_;
  Norm norm_;
  std::int64_t tile_;
};

}  // namespace

std::int64_t loss_tile(std::int64_t vocab_size) {
  constexpr std::int64_t kLargest = 512, kSmallest = 16, kLogitsBytes = 48 * MiB;
  std::int64_t tile = kLargest;
  while (tile > kSmallest && tile * vocab_size * static_cast<Bytes>(sizeof(float)) > kLogitsBytes) tile /= 2;
  return tile;
}

std::unique_ptr<LossBlock> make_loss_head(const format::ModelConfig& config, Norm norm, std::string name) {
  return std::make_unique<LossHead>(config.vocab_size, norm, std::move(name));
}

}  // namespace sluice::model
