// The numbering of a plan's buffers: weights, gradients, moment slices, boundaries and their gradients, saved
// activations, scratch, caches, residuals.
#pragma once
#include <span>
#include <vector>

#include "plan/step.h"

namespace sluice::plan {

/// Creates every buffer of a step once and finds it again. The same trace, recipe and choices give the same ids.
class BufferTable {
 public:
  BufferTable(const StepTrace& trace, const Recipe& recipe, const StepChoices& choices);

  /// What lives across steps and updates change.
  [[nodiscard]] BufferId weight(int chunk) const { return weights_[chunk]; }
  /// What computations read: the same, or what is made of the ranks' parts for them.
  [[nodiscard]] BufferId whole_weight(int chunk) const { return gathered_.empty() ? weight(chunk) : gathered_[chunk]; }
  /// What backwards of a micro-batch add to; neighbouring ones add to two where each is added up alone. -1: the chunk
  /// is frozen.
  [[nodiscard]] BufferId gradient(int chunk, int micro_batch) const {
    return (micro_batch % 2 == 0 || odd_gradients_.empty() ? gradients_ : odd_gradients_)[chunk];
  }
  /// The rank's part of the sum over ranks, where the whole is exchanged in parts. -1: the chunk is frozen.
  [[nodiscard]] BufferId gradient_part(int chunk) const { return parts_[chunk]; }
  /// The sum over all ranks, or the rank's part of it: what updates read. -1: the chunk is frozen.
  [[nodiscard]] BufferId reduced_gradient(int chunk) const {
    return reduced_.empty() ? gradients_[chunk] : reduced_[chunk];
  }
  /// What this rank has not sent of the chunk's gradients, and what ranks send of one. -1: it is sent whole.
  [[nodiscard]] BufferId residual(int chunk) const { return residuals_[chunk]; }
  [[nodiscard]] BufferId signs(int chunk) const { return signs_[chunk]; }
  /// -1: no tensor of the chunk has any of it.
  [[nodiscard]] BufferId moment(int chunk, int moment, int slice) const {
    return moments_[chunk][static_cast<std::size_t>(slice * num_moments_[chunk] + moment)];
  }
  [[nodiscard]] int num_slices(int chunk) const { return num_slices_[chunk]; }
  /// Of the longest slice.
  [[nodiscard]] std::int64_t slice_elements(int chunk) const { return slice_elements_[chunk]; }
  /// Elements of the rank's own part of the chunk.
  [[nodiscard]] ElementRange slice(int chunk, int slice) const;
  /// Plan::slice_starts.
  [[nodiscard]] const std::vector<std::int64_t>& slice_starts(int chunk) const { return slice_starts_[chunk]; }
  [[nodiscard]] BufferId boundary(int boundary, int micro_batch) const { return boundaries_[boundary][micro_batch]; }
  [[nodiscard]] BufferId boundary_gradient(int micro_batch) const { return boundary_gradients_[micro_batch]; }
  /// What the forward of a block saves for one micro-batch, by class.
  [[nodiscard]] std::span<const BufferId> saved(int block, int micro_batch) const { return saved_[block][micro_batch]; }
  /// What a block's segments leave for those after them; -1: nothing.
  [[nodiscard]] BufferId scratch(int block, int micro_batch) const { return scratches_[block][micro_batch]; }
  [[nodiscard]] BufferId cache(int block) const { return caches_[block]; }  ///< -1: the block keeps none
  [[nodiscard]] const std::vector<Buffer>& buffers() const { return buffers_; }

 private:
  BufferId add(Buffer buffer);
  BufferId add_whole_moment(int chunk, int moment, Bytes bytes);
  void add_weights(const StepTrace& trace, const Recipe& recipe, int chunk);
  void add_residual(const StepTrace& trace, const Recipe& recipe, int chunk);
  void cut(const Chunk& chunk, const Recipe& recipe, std::int64_t most);
  void add_moments(const StepTrace& trace, const Recipe& recipe, const StepChoices& choices, int chunk);
  void add_saved(const StepTrace& trace, const Recipe& recipe, const StepChoices& choices);

  std::vector<Buffer> buffers_;
  std::vector<BufferId> weights_, gathered_, gradients_, odd_gradients_, parts_, reduced_, boundary_gradients_, caches_;
  std::vector<BufferId> residuals_, signs_;
  std::vector<std::vector<BufferId>> moments_, boundaries_, scratches_;
  std::vector<std::vector<std::vector<BufferId>>> saved_;
  std::vector<int> num_moments_, num_slices_;
  std::vector<std::int64_t> slice_elements_, own_elements_;
  std::vector<std::vector<std::int64_t>> slice_starts_;
};

}  // namespace sluice::plan
