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

/// Forward; the result is copied into `t.output`.
void run_forward(const Block& block, const BlockTensors& t);
/// The same, and what the block's classes in `mask` save stays allocated in the result.
[[nodiscard]] SavedTensors run_forward_saving(const Block& block, const BlockTensors& t, SavedMask mask);
/// Backward: gradients added into `t.gradients`, dX copied into `t.input_gradient`. Consumes `saved`, from
/// `run_forward_saving` with the same parameters and input; what is not in it is made again. The same bits for every
/// mask. For a loss block loss and gradients: returns the loss sum (0 otherwise).
double run_backward(const Block& block, const BlockTensors& t, SavedTensors saved = {});

/// Forward of one pass's tokens, at `t.position`, given the caches of all positions before; their keys and values go
/// into `cache` (undefined tensors for a block without). A loss block writes the logits of the last real token into
/// `t.output` [B,1,vocab]. Allocates the same at every position.
void run_generate(const Block& block, const BlockTensors& t, const KvCache& cache);
/// One segment of a computation; returns what it adds to the loss sum. Parameters and gradients that it does not take
/// may be undefined.
double run_segment(const Block& block, Computation computation, int index, const BlockTensors& t);
/// `run_forward`, or for a loss block the loss alone: returns its sum (0 otherwise).
double run_evaluate(const Block& block, const BlockTensors& t);

}  // namespace sluice::model
