// The computations of one block for one micro-batch: exactly what the executor runs and what the tracer traces, on any
// device. All tensors given are planned memory: results are copied into them, gradients are added in place, and what a
// computation allocates is released when it returns, except the saved activations of `run_forward_saving`.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "model/block.h"

namespace sluice::model {

/// A parameter in the memory of its chunk; undefined where that is.
[[nodiscard]] at::Tensor view_of(const plan::ParameterSlot& place, const at::Tensor& chunk);

/// The tensors of one call. Unused ones may be undefined. Nothing is retained after a call.
struct BlockTensors {
  std::vector<at::Tensor> parameters;  ///< of the block's chunks, concatenated
  std::vector<at::Tensor> gradients;   ///< fp32 views of the same shapes; an undefined one: parameter not trained
  at::Tensor input;                    ///< X; undefined for the first block
  at::Tensor output;                   ///< Y, written
  at::Tensor output_gradient;          ///< dY, read
  at::Tensor input_gradient;           ///< dX, written; may be the memory of `output_gradient`
  MicroBatch batch;
  float scale = 1.0F;  ///< multiplies a loss block's gradients
};

/// Forward; the result is copied into `t.output`.
void run_forward(const Block& block, const BlockTensors& t);
/// The same, and what the block's classes in `mask` save stays allocated in the result.
[[nodiscard]] SavedTensors run_forward_saving(const Block& block, const BlockTensors& t, SavedMask mask);
/// Backward: gradients added into `t.gradients`, dX copied into `t.input_gradient`. Consumes `saved`, from
/// `run_forward_saving` with the same parameters and input; what is not in it is made again. The same bits for every
/// mask. For a loss block loss and gradients: returns the loss sum (0 otherwise).
double run_backward(const Block& block, const BlockTensors& t, SavedTensors saved = {});
/// Where a pass of generation stands: token i of its S is at position `first` + i. Those from `num_tokens` on only fill
/// up the shape: nothing real sees them, and what they leave in the caches is overwritten by the passes that follow.
struct PassPosition {
  std::int64_t first = 0;
  std::int64_t num_tokens = 1;
};

/// Forward of one pass's tokens given the caches of all positions before; their keys and values go into `cache`
/// (undefined tensors for a block without). A loss block writes the logits of the last real token into `t.output`
/// [B,1,vocab]. Allocates the same at every position.
void run_generate(const Block& block, const BlockTensors& t, const KvCache& cache, PassPosition position);
/// `run_forward`, or for a loss block the loss alone: returns its sum (0 otherwise).
double run_evaluate(const Block& block, const BlockTensors& t);

}  // namespace sluice::model
