// The block interface: a model is an ordered list of blocks, functions of (parameters, input, micro-batch) made of ATen
// operators. Blocks know nothing of tiers, ranks or optimizers and hold no tensors, so that one object serves any
// device, any thread and the meta tracer.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "plan/trace.h"

namespace sluice::model {

/// A parameter of a chunk: its published name, its shape and how a fresh one is filled (init.h).
struct ParameterSpec {
  enum class Init { Normal, Uniform, Ones, Zeros };
  /// Whether it is the matrix of one of the block's linear maps, and how it is stored.
  enum class Matrix { None, OutIn, InOut };
  std::string name;  ///< Hugging Face name
  std::vector<std::int64_t> shape;
  Init init = Init::Normal;
  double std = 0.02;  ///< of Init::Normal; of Init::Uniform the largest magnitude
  Matrix matrix = Matrix::None;
  std::int64_t num_joined = 1;  ///< InOut: so many maps of one input side by side, of equal width
  std::int64_t first_row = 0;   ///< `shape` is that of a part of the published tensor: its rows from this one on
  [[nodiscard]] std::int64_t num_elements() const;
  /// Of the published tensor, where this part of it begins.
  [[nodiscard]] std::int64_t first_element() const;
};

/// One micro-batch: int64 tensors [B,S]. `labels` is aligned with `input_ids` (position t is predicted from t - 1: the
/// shift happens inside the loss); -100 means no target. `labels` may be undefined where no loss is computed.
struct MicroBatch {
  at::Tensor input_ids, labels;
};
/// Throws InternalError for a token, or a label that is not -100, beyond the vocabulary: blocks look up what they are
/// given. Of tensors in host memory.
void check_batch(const MicroBatch& batch, std::int64_t vocab_size);

/// Keys and values of one block for generation: two tensors [B, kv_heads, max_length, head_dim], owned by the caller,
/// both undefined for blocks without attention.
struct KvCache {
  at::Tensor keys, values;
};

/// A set of a block's classes of saved activations: bit i is number i of `Block::saved_classes`.
using SavedMask = plan::SavedMask;

/// Activations that a forward saved for the backward: per class its tensors, in an order of the block's own; none for a
/// class that was not saved. Tensors may be views, but no storage belongs to two classes, to the input or to a
/// parameter.
using SavedTensors = std::vector<std::vector<at::Tensor>>;

/// What a backward is given. Parameters and input are those of the forward, wherever they are now.
struct BackwardInputs {
  std::span<const at::Tensor> parameters;
  std::span<const at::Tensor> gradients;  ///< one per parameter, added to in place; an undefined one is not wanted
  at::Tensor input;
  MicroBatch batch;
  at::Tensor output_gradient;
};

/// A low-rank adapter of one linear map: scale * B A, A [rank,in], B [out,rank]. Rank 0: the map has none.
struct LinearAdapter {
  std::int64_t rank = 0;
  double scale = 0;
  bool magnitude = false;  ///< and a vector [out] of row lengths (DoRA)
  [[nodiscard]] std::size_t num_parameters() const { return rank == 0 ? 0 : (magnitude ? 3 : 2); }
};

/// Where a pass of generation stands: token i of its S is at position `first` + i. Those from `num_tokens` on only fill
/// up the shape: nothing real sees them, and what they leave in the caches is overwritten by the passes that follow.
struct PassPosition {
  std::int64_t first = 0;
  std::int64_t num_tokens = 1;
};

/// The tensors of one call. Unused ones may be undefined. Nothing is retained after a call.
struct BlockTensors {
  std::vector<at::Tensor> parameters;  ///< of the block's chunks, concatenated; of a segment those that it takes
  std::vector<at::Tensor> gradients;   ///< fp32 views of the same shapes; an undefined one: parameter not trained
  at::Tensor input;                    ///< X; undefined for the first block
  at::Tensor output;                   ///< Y, written
  at::Tensor output_gradient;          ///< dY, read
  at::Tensor input_gradient;           ///< dX, written; may be the memory of `output_gradient`
  at::Tensor scratch;                  ///< of segments: floats [n] that carry values from one to those after it
  MicroBatch batch;
  float scale = 1.0F;                 ///< multiplies a loss block's gradients
  PassPosition position = {};         ///< of a pass of generation
  std::span<double> row_losses = {};  ///< evaluation of a loss block adds each row's loss; one per row, or none
};

/// What a block computes for one micro-batch.
enum class Computation { Forward, Backward, Evaluate, Generate };

/// A part of a computation that takes only some of the block's parameters, so that not all need be in memory at once.
struct Segment {
  std::vector<int> parameters;  ///< positions in the block's list, ascending; whole chunks
  std::vector<int> gradients;   ///< those to which it adds, the same way
};

struct BatchShape {
  std::int64_t micro_batch_size = 1;
  std::int64_t seq_len = 1;
};

/// Inputs, outputs and their gradients are [B,S,hidden]. Implementations must be deterministic and may not keep state.
/// Everything is called with autograd disabled: forward and backward are written by hand.
class Block {
 public:
  virtual ~Block();
  [[nodiscard]] virtual std::string name() const = 0;  ///< "embed_tokens", "layers.3", "head"
  /// Blocks with equal keys have equal shapes and are traced once.
  [[nodiscard]] virtual std::string trace_key() const = 0;
  /// The block's output in fresh memory. `input` is undefined for the first block.
  [[nodiscard]] virtual at::Tensor forward(std::span<const at::Tensor> parameters, const at::Tensor& input,
                                           const MicroBatch& batch) const = 0;
  /// Names of the classes of tensors that a forward can save and a backward else makes again, each wholly or not at
  /// all: the unit in which activations are kept, spilled or recomputed. At most 4.
  [[nodiscard]] virtual std::vector<std::string> saved_classes() const;
  /// `forward`, same bits, that also puts the classes in `mask` into `saved` (already one empty entry per class).
  [[nodiscard]] virtual at::Tensor forward_saving(std::span<const at::Tensor> parameters, const at::Tensor& input,
                                                  const MicroBatch& batch, SavedMask mask, SavedTensors& saved) const;
  /// Adds parameter gradients and returns the gradient of the input in fresh memory (undefined where the block has
  /// none). `saved` has an entry per class; the tensors of empty ones are made again, with the same bits. Saved tensors
  /// may be overwritten, and are released by dropping them. The output gradient is only read.
  [[nodiscard]] virtual at::Tensor backward(const BackwardInputs& in, SavedTensors saved) const = 0;
  /// Gives the block's linear maps (ParameterSpec::matrix, in their order) these adapters. From then on its functions
  /// take {A, B} or {A, B, magnitude} of each map that has one behind the block's other parameters, in that order.
  /// Before any other use.
  virtual void set_adapters(std::vector<LinearAdapter> adapters);
  /// Shape [kv_heads, head_dim] of one position's keys; empty when the block keeps none.
  [[nodiscard]] virtual std::vector<std::int64_t> cache_shape() const;
  /// `forward` without gradients for the tokens at positions [position, position + S), given the caches of all
  /// positions before; writes these tokens' keys and values into `cache`. What it allocates depends on the shapes of
  /// input and cache, not on the position. A block without caches is given undefined ones.
  [[nodiscard]] virtual at::Tensor decode(std::span<const at::Tensor> parameters, const at::Tensor& input,
                                          const KvCache& cache, std::int64_t position, const MicroBatch& batch) const;
  /// The parts of `computation`, which run one after the other give the bits of the whole; empty: it has none.
  [[nodiscard]] virtual std::vector<Segment> segments(Computation computation) const;
  /// Floats of BlockTensors::scratch that the segments of any computation need.
  [[nodiscard]] virtual std::int64_t scratch_elements(BatchShape shape) const;
  /// Runs one segment, straight on planned tensors; returns what it adds to the loss sum.
  virtual double run_segment(Computation computation, int index, const BlockTensors& t) const;
};

/// The last block: ends in the loss, summed over the micro-batch's target tokens.
class LossBlock : public Block {
 public:
  /// No boundary leaves a loss block: throws InternalError.
  [[nodiscard]] at::Tensor forward(std::span<const at::Tensor> parameters, const at::Tensor& input,
                                   const MicroBatch& batch) const final;
  /// Loss and gradients are one computation: throws InternalError.
  [[nodiscard]] at::Tensor backward(const BackwardInputs& in, SavedTensors saved) const final;
  /// Sum of the losses of all target tokens of `t.batch`, and of each row's in `t.row_losses`; no gradients. 0 on the
  /// meta device.
  [[nodiscard]] virtual double loss(const BlockTensors& t) const = 0;
  /// The same sum (not multiplied by `scale`); adds scale * gradient into `gradients` (fp32 views, one per parameter;
  /// undefined ones are skipped) and writes scale * gradient of the input into `input_gradient`, which must not overlap
  /// `input`. `scale`: 1 / target tokens of the whole accumulation window.
  virtual double loss_and_gradients(std::span<const at::Tensor> parameters, std::span<const at::Tensor> gradients,
                                    const at::Tensor& input, const at::Tensor& input_gradient, const MicroBatch& batch,
                                    float scale) const = 0;
  /// Logits [B,n,vocab] of the positions given as `input` [B,n,hidden], for sampling.
  [[nodiscard]] virtual at::Tensor logits(std::span<const at::Tensor> parameters, const at::Tensor& input) const = 0;
};

}  // namespace sluice::model
