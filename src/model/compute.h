// The computations of one block for one micro-batch: exactly what the executor runs and what the tracer traces, on any
// device. All tensors given are planned memory: results are copied into them, gradients are added in place, and what a
// computation allocates is released when it returns, except the saved activations of `run_forward_keep`.
#pragma once
#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/edge.h>

#include <vector>

#include "model/block.h"

namespace sluice::model {

/// The tensors of one call. Unused ones may be undefined. Nothing is retained after a call, except by a SavedGraph.
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

/// What `run_forward_keep` saved. It refers to the parameters and input that were given there: they must stay in place,
/// unchanged, until `run_backward_kept` has returned or the graph is destroyed.
struct SavedGraph {
  torch::autograd::Edge root;
  at::Tensor input;
  std::vector<at::Tensor> leaves;
};

/// Forward without gradients; the result is copied into `t.output`.
void run_forward(const Block& block, const BlockTensors& t);
/// Forward with gradients; the result is copied into `t.output`, the saved activations stay allocated. Of `t.gradients`
/// and `t.input_gradient` only counts which are defined: they say what the backward will want.
[[nodiscard]] SavedGraph run_forward_keep(const Block& block, const BlockTensors& t);
/// Backward of a saved graph: gradients added into `t.gradients`, dX copied into `t.input_gradient`; consumes and
/// releases the saved activations.
void run_backward_kept(const Block& block, const BlockTensors& t, SavedGraph saved);
/// Forward again, then backward; same bits as the pair above. For a loss block loss and gradients: returns the loss sum
/// (0 otherwise).
double run_backward_recompute(const Block& block, const BlockTensors& t);
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
