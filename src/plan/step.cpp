// THE page: one step, row by row, in the order in which it happens. Everything else in this folder places and moves
// what these rows touch; parallelism and offload add or move rows and never change this order of sums.
#include "plan/step.h"

#include <algorithm>

#include "plan/buffers.h"
#include "plan/overlap.h"
#include "plan/update_rows.h"

namespace sluice::plan {
namespace {

// Sums of at most so many bytes are gathered and made by every rank (Communicator::all_reduce).
constexpr Bytes kSmallSum = 16 * KiB;

class StepEmitter {
 public:
  StepEmitter(const StepTrace& trace, const Recipe& recipe, const StepChoices& choices, int update_tier)
      : trace_(trace),
        recipe_(recipe),
        choices_(choices),
        update_tier_(update_tier),
        first_backward_(first_backward(trace)),
        buffers_(trace, recipe, choices),
        seen_(trace.chunks.size(), 0) {}

  // Group by group: forward through all blocks but the loss, then loss and backward; a block's update stands where the
  // recipe puts it. Gradients are sums over micro-batches 0, 1, ..., whatever the groups: a first block that adds to a
  // later block's gradient (a tied embedding) waits until that one has seen every micro-batch. Updates in a tier below
  // stand one block apart from the computation: a block's weights go up, and its gradient down, while another computes.
  // With a second pass the first one's gradients are measured and forgotten; the second makes the same ones again.
  // Ranks divide the micro-batches and play the same rows: what is added up is the sum over all of them before anything
  // reads it, and they agree on norms and losses before anything depends on these.
  void train_step() {
    trains_ = true;
    for (repeat_ = 0; repeat_ < num_passes(); ++repeat_) {
      forward_and_backward();
      if (repeat_ == 0 && recipe_.update != UpdateWhen::Backward) agree();
    }
    if (recipe_.update == UpdateWhen::Sweep) update_all(skip_when());
  }

  void forward_and_backward() {
    for (; group_.first < recipe_.num_micro_batches; group_.first = group_.last) {
      group_.last = std::min(group_.first + choices_.group_size, recipe_.num_micro_batches);
      for (int block = 0; block + 1 < num_blocks(); ++block) {
        update_before_first_use(block);
        if (updates_below()) update_before_first_use(block + 1);
        forward(block);
      }
      update_before_first_use(num_blocks() - 1);
      for (int block = num_blocks() - 1; block >= first_backward_; --block) {
        if (!waits_for_all(block)) backward(block);
      }
    }
    group_.first = 0;
    if (waits_for_all(0)) backward(0);
    update_late();
  }

  // What is pending goes into the weights: before a save, an evaluation or the end.
  void flush() {
    if (recipe_.update == UpdateWhen::NextForward) update_all(SkipWhen::Never);
  }

  // A weight that is streamed serves all micro-batches.
  void evaluate() {
    group_.last = recipe_.num_evaluated;
    for (int block = 0; block < num_blocks(); ++block)
      forward_only(block, traced(block).evaluate, traced(block).evaluate_segments);
  }

  // One pass of tokens through all blocks. Keys and values grow in place; the last block leaves the logits.
  void generate() {
    group_.last = 1;
    for (int block = 0; block < num_blocks(); ++block) {
      const auto& segments = traced(block).generate_segments;
      forward_only(block, traced(block).generate[choices_.pass],
                   segments.empty() ? std::span<const SegmentTrace>() : segments[choices_.pass]);
    }
  }

  void hold(std::span<const EntryState> entry) {
    for (Row& row : rows_) {
      for (Use& use : row.uses) {
        const auto state = std::ranges::find(entry, use.buffer, &EntryState::buffer);
        if (state == entry.end()) continue;
        use.hold_to_next = true;
        use.hold_tier = state->tier;
      }
    }
  }

  // Gradients that a flush used up need not be there at its end.
  void touch_entry(std::span<const EntryState> entry, bool persistent_only) {
    Row row{.kind = ActionKind::Evict};
    for (const EntryState& state : entry) {
      if (persistent_only && !buffers_.buffers()[state.buffer].persistent) continue;
      row.uses.push_back({state.buffer, state.tier, Access::Read, state.clean});
    }
    rows_.push_back(std::move(row));
  }

  StepRows finish(Variant variant) && {
    std::vector<std::int64_t> slices;
    std::vector<std::vector<std::int64_t>> starts;
    for (int chunk = 0; chunk < static_cast<int>(trace_.chunks.size()); ++chunk) {
      slices.push_back(buffers_.slice_elements(chunk));
      starts.push_back(buffers_.slice_starts(chunk));
    }
    if (recipe_.sharding.is_parallel() && choices_.overlap) rows_ = overlap_exchanges(std::move(rows_));
    return {variant, buffers_.buffers(), std::move(rows_), std::move(slices), std::move(starts)};
  }

 private:
  void forward_only(int block, const ComputeTrace& whole, std::span<const SegmentTrace> segments) {
    emit(block, {ActionKind::Forward, &whole, segments}, [&](Row& row) {
      if (reads(block) >= 0) row.uses.push_back({buffers_.boundary(reads(block), row.micro_batch), 0, Access::Read});
      if (writes(block) >= 0)
        row.uses.push_back({buffers_.boundary(writes(block), row.micro_batch), 0, written(row.segment <= 0)});
      if (buffers_.cache(block) >= 0) row.uses.push_back({buffers_.cache(block), 0, Access::ReadWrite});
    });
  }

  void forward(int block) {
    const BlockTrace& trace = traced(block);
    emit(block, {ActionKind::Forward, &trace.forward[saved(block)], trace.forward_segments}, [&](Row& row) {
      if (reads(block) >= 0) row.uses.push_back({buffers_.boundary(reads(block), row.micro_batch), 0, Access::Read});
      row.uses.push_back({buffers_.boundary(writes(block), row.micro_batch), 0, written(row.segment <= 0)});
      use_saved(row, Access::Write);
    });
  }

  // Gradients are summed into one zeroed buffer; the boundary's gradient is rewritten in place.
  void backward(int block) {
    if (is_made_again(block)) make_input_again(block);
    const BlockTrace& trace = traced(block);
    const bool whole = is_loss(block) && !choices_.loss_in_segments;
    const std::span<const SegmentTrace> segments = whole ? std::span<const SegmentTrace>() : trace.backward_segments;
    emit(block, {ActionKind::Backward, &trace.backward[saved(block)], segments}, [&](Row& row) {
      const auto prepares = [&](int s) { return s >= 0 && segments[s].gradient_chunks.empty(); };
      if (reads(block) >= 0) row.uses.push_back({buffers_.boundary(reads(block), row.micro_batch), 0, Access::Read});
      if (prepares(row.segment)) return;
      const bool begins = is_loss(block) && (row.segment <= 0 || prepares(row.segment - 1));
      const Access access = reads(block) >= 0 ? written(begins) : Access::Read;
      row.uses.push_back({buffers_.boundary_gradient(row.micro_batch), 0, access});
      use_saved(row, Access::ReadWrite);
    });
    update_after_backward();
  }

  /// What stands for a computation: the trace of the whole, or those of its segments.
  struct Computation {
    ActionKind kind;
    const ComputeTrace* whole;
    std::span<const SegmentTrace> segments;
  };

  // A row for each micro-batch of the group; of segments, each for all of them before the next one, so that its chunks
  // are needed once. `complete` adds what belongs to no chunk.
  template <typename Complete>
  void emit(int block, const Computation& computation, const Complete& complete) {
    const std::vector<int>& chunks = trace_.blocks[block].chunks;
    if (computation.segments.empty()) {
      const bool backward = computation.kind == ActionKind::Backward;
      emit_part({computation.kind, block, -1, computation.whole}, chunks, backward ? chunks : std::vector<int>(),
                complete);
    }
    const auto at = [&](const std::vector<int>& positions) {
      std::vector<int> taken;
      for (const int position : positions) taken.push_back(chunks[position]);
      return taken;
    };
    for (int s = 0; s < static_cast<int>(computation.segments.size()); ++s) {
      const SegmentTrace& segment = computation.segments[s];
      const std::vector<int> read = at(segment.chunks);
      if (!updates_below()) update_before_first_use(read);
      emit_part({computation.kind, block, s, &segment.compute}, read, at(segment.gradient_chunks), [&](Row& row) {
        complete(row);
        const BufferId scratch = buffers_.scratch(block, row.micro_batch);
        const Access access = segment.gradient_chunks.empty() ? written(s == 0) : Access::Read;
        if (scratch >= 0) row.uses.push_back({scratch, 0, access});
      });
    }
  }

  struct Part {
    ActionKind kind;
    int block, segment;
    const ComputeTrace* compute;
  };
  template <typename Complete>
  void emit_part(const Part& part, const std::vector<int>& read, const std::vector<int>& added,
                 const Complete& complete) {
    gather(read);
    for (int m = group_.first; m < group_.last; ++m) {
      Row row{.kind = part.kind,
              .block = part.block,
              .micro_batch = m,
              .segment = part.segment,
              .repeat = repeat_,
              .compute = part.compute};
      for (const int chunk : read)
        row.uses.push_back({buffers_.whole_weight(chunk), 0, Access::Read, false, gathers()});
      for (const int chunk : added) {
        if (!trace_.chunks[chunk].trained) continue;
        const bool begins = adds_each() || (m == 0 && part.block == last_user(chunk));
        row.uses.push_back({buffers_.gradient(chunk, m), 0, written(begins)});
      }
      complete(row);
      rows_.push_back(std::move(row));
      if (adds_each() && !added.empty()) add_up(part.block, added, m);
    }
    if (part.kind != ActionKind::Backward || group_.last < recipe_.num_micro_batches) return;
    update_late();
    for (const int chunk : added) {
      if (part.block == first_user(chunk)) gradient_is_final(chunk);
    }
  }

  // In the fixed order each micro-batch's gradient is whole by itself and joins the sum over all ranks: while the next
  // one of the group is computed, where there is memory for two.
  void add_up(int block, const std::vector<int>& added, int micro_batch) {
    const bool lags = choices_.overlap, is_last = micro_batch + 1 == group_.last;
    if (lags && micro_batch > group_.first) join_sum(block, added, micro_batch - 1);
    if (!lags || is_last) join_sum(block, added, micro_batch);
  }

  void join_sum(int block, const std::vector<int>& added, int micro_batch) {
    for (const int chunk : added) {
      if (!trace_.chunks[chunk].trained) continue;
      Row row = exchange(ActionKind::ReduceScatter, chunk, Serves::Itself, Among::All);
      row.uses.push_back({buffers_.gradient(chunk, micro_batch), 0, Access::Read});
      row.uses.push_back({buffers_.gradient_part(chunk), 0, written(micro_batch == 0 && block == last_user(chunk))});
      rows_.push_back(std::move(row));
    }
  }

  // Forward from the last boundary below that is still there, up to the one that this block reads: the first block of a
  // run makes the boundaries of the whole run.
  void make_input_again(int block) {
    if (is_made_again(block + 1)) return;
    int lowest = block - 1;
    while (is_made_again(lowest)) --lowest;
    for (int below = lowest; below < block; ++below) forward(below);
  }

  void gradient_is_final(int chunk) {
    if (!trace_.chunks[chunk].trained) return;
    reduce(chunk);
    if (repeat_ == 0) reduce_norm(chunk);
    if (updates_in_backward()) final_.push_back(chunk);
  }

  // All of a block's gradients are measured before the first of them is applied: its norm may decide.
  void update_after_backward() {
    late_.insert(late_.end(), final_.begin(), final_.end());
    if (recipe_.update == UpdateWhen::Backward && !final_.empty()) agree();
    final_.clear();
    if (!updates_below()) update_late();
  }

  // Where the update will read it, so that no device need know how.
  void reduce_norm(int chunk) {
    Row norm{.kind = ActionKind::ReduceNorm, .serves = Serves::Last, .chunk = chunk};
    norm.uses.push_back({buffers_.reduced_gradient(chunk), update_tier_, Access::Read});
    norm.bytes = own_elements(chunk) * Bytes{sizeof(float)};
    rows_.push_back(std::move(norm));
  }

  // A chunk's whole weights for the computation that follows, where ranks have a part each. What the computation before
  // it had at hand still is.
  void gather(const std::vector<int>& read) {
    if (!gathers()) return;
    for (const int chunk : read) {
      if (std::ranges::find(at_hand_, chunk) != at_hand_.end()) continue;
      Row row = exchange(ActionKind::AllGather, chunk, Serves::Next, sharing());
      row.uses.push_back({buffers_.weight(chunk), 0, Access::Read});
      row.uses.push_back({buffers_.whole_weight(chunk), 0, Access::Write, false, true});
      rows_.push_back(std::move(row));
    }
    at_hand_ = read;
  }

  // The sum over all ranks: whole on each, or each rank's part of it, in place or beside the whole, which then is dead.
  // In groups: each rank's part of the group's sum, then that of all groups, and where nothing is divided the whole.
  void reduce(int chunk) {
    const Sharding& sharding = recipe_.sharding;
    if (!sharding.is_parallel()) return;
    if (adds_each()) return gather_sum(chunk);
    const bool in_parts = sharding.states() || sharding.is_grouped(), in_place = !sharding.gradients();
    sum(in_parts ? ActionKind::ReduceScatter : ActionKind::AllReduce, chunk, sharing());
    if (!in_place) rows_.back().uses.push_back({buffers_.reduced_gradient(chunk), 0, Access::Write});
    if (recipe_.keeps_residuals()) {
      rows_.back().uses.push_back({buffers_.signs(chunk), 0, Access::Write});
      rows_.back().uses.push_back({buffers_.residual(chunk), 0, Access::ReadWrite});
    }
    if (!sharding.is_grouped()) return;
    sum(ActionKind::AllReduce, chunk, Among::Replicas);
    if (!sharding.states()) sum(ActionKind::AllGather, chunk, Among::Group);
  }

  // In the fixed order each rank has its part of the sum by now.
  void gather_sum(int chunk) {
    if (recipe_.sharding.gradients()) return;
    Row row = exchange(ActionKind::AllGather, chunk, Serves::Itself, Among::All);
    row.uses.push_back({buffers_.gradient_part(chunk), 0, Access::Read});
    row.uses.push_back({buffers_.reduced_gradient(chunk), 0, Access::Write});
    rows_.push_back(std::move(row));
  }

  // One exchange of a gradient. Where less than fp32 is sent, its memory is where numbers are narrowed and widened.
  void sum(ActionKind kind, int chunk, Among among) {
    Row row = exchange(kind, chunk, Serves::Itself, among, recipe_.reduce);
    const bool of_part = among == Among::Replicas, keeps = recipe_.reduce == NumberFormat::Fp32;
    const bool beside = recipe_.sharding.gradients() && !of_part;
    row.uses.push_back({of_part ? buffers_.reduced_gradient(chunk) : buffers_.gradient(chunk, 0), 0,
                        beside && keeps ? Access::Read : Access::ReadWrite});
    rows_.push_back(std::move(row));
  }

  // Weights that every rank keeps whole, each having updated its part.
  void share_update(int chunk, SkipWhen skip, Serves serves) {
    if (!recipe_.sharding.states() || recipe_.sharding.weights()) return;
    Row row = exchange(ActionKind::AllGather, chunk, serves, sharing());
    if (skip == SkipWhen::NoUpdate) row.skip = skip;  // of all skips the one that no norm of this period decides
    row.uses.push_back({buffers_.weight(chunk), 0, Access::ReadWrite});
    rows_.push_back(std::move(row));
  }

  void agree() {
    if (recipe_.sharding.is_parallel())
      rows_.push_back({.kind = ActionKind::AllReduce, .lane = Lane::Compute, .serves = Serves::Last});
  }

  // Every rank sends what the others lack; a sum on all ranks is sent twice.
  Row exchange(ActionKind kind, int chunk, Serves serves, Among among, NumberFormat wire = NumberFormat::Fp32) const {
    Row row{.kind = kind, .lane = Lane::Communication, .serves = serves, .chunk = chunk};
    row.among = among;
    row.wire = wire;
    const int ranks = recipe_.sharding.members(among);
    std::int64_t elements = trace_.chunks[chunk].num_elements;
    if (among == Among::Replicas) elements /= recipe_.sharding.ranks_per_group();
    const Bytes whole = stored_bytes(wire, elements);
    const bool each_sums = whole <= kSmallSum || wire == NumberFormat::OneBit;
    const Bytes times = kind != ActionKind::AllReduce ? 1 : each_sums ? ranks : 2;
    row.bytes = times * whole * (ranks - 1) / ranks;
    return row;
  }
  // Who divides the state.
  Among sharing() const { return recipe_.sharding.is_grouped() ? Among::Group : Among::All; }

  void update_late() {
    for (const int chunk : late_) update(chunk, skip_when());
    late_.clear();
  }

  void update_all(SkipWhen skip) {
    for (int chunk = 0; chunk < static_cast<int>(trace_.chunks.size()); ++chunk) update(chunk, skip);
  }

  // Of a computation in segments each chunk's update stands before the first segment that reads it.
  void update_before_first_use(int block) {
    const BlockTrace& trace = traced(block);
    const bool in_segments = is_loss(block) ? choices_.loss_in_segments && !trace.backward_segments.empty()
                                            : !trace.forward_segments.empty();
    if (!in_segments || updates_below()) update_before_first_use(trace_.blocks[block].chunks);
  }

  void update_before_first_use(std::span<const int> chunks) {
    if (!trains_ || recipe_.update != UpdateWhen::NextForward) return;
    for (const int chunk : chunks) {
      if (!seen_[chunk]) update(chunk, skip_when());
      seen_[chunk] = 1;
    }
  }

  void update(int chunk, SkipWhen skip) {
    if (!trace_.chunks[chunk].trained) return;
    const Serves serves = recipe_.update == UpdateWhen::NextForward ? Serves::Next : Serves::Last;
    for (Row& row : update_rows({trace_, recipe_, buffers_, update_tier_}, chunk, skip)) {
      row.serves = serves;
      rows_.push_back(std::move(row));
    }
    share_update(chunk, skip, serves);
  }

  // A backward works in the memory of what was saved.
  void use_saved(Row& row, Access access) const {
    const bool hold = choices_.hold_saved && access == Access::Write;
    for (const BufferId buffer : buffers_.saved(row.block, row.micro_batch))
      row.uses.push_back({buffer, 0, access, false, hold});
  }

  int num_passes() const { return recipe_.update == UpdateWhen::SecondPass ? 2 : 1; }
  bool updates_in_backward() const {
    return recipe_.update == UpdateWhen::Backward || (recipe_.update == UpdateWhen::SecondPass && repeat_ == 1);
  }
  // Who knows whether an update shall be: the step before, its block's norm, or the norm of all.
  SkipWhen skip_when() const {
    if (recipe_.update == UpdateWhen::NextForward) return SkipWhen::NoUpdate;
    return recipe_.update == UpdateWhen::Backward ? SkipWhen::BlockNotFinite : SkipWhen::StepNotFinite;
  }
  bool adds_each() const { return recipe_.sharding.fixed_order; }
  bool gathers() const { return recipe_.sharding.weights(); }
  std::int64_t own_elements(int chunk) const {
    return recipe_.sharding.elements_per_rank(trace_.chunks[chunk].num_elements);
  }
  static Access written(bool begins) { return begins ? Access::Write : Access::ReadWrite; }
  bool is_loss(int block) const { return block + 1 == num_blocks(); }
  bool updates_below() const { return update_tier_ > 0; }
  int first_user(int chunk) const {
    for (int b = 0; b < num_blocks(); ++b) {
      if (uses_chunk(b, chunk)) return b;
    }
    return -1;
  }
  int last_user(int chunk) const {
    for (int b = num_blocks() - 1; b >= 0; --b) {
      if (uses_chunk(b, chunk)) return b;
    }
    return -1;
  }
  bool uses_chunk(int block, int chunk) const {
    const auto& chunks = trace_.blocks[block].chunks;
    return std::find(chunks.begin(), chunks.end(), chunk) != chunks.end();
  }

  SavedMask saved(int block) const {
    return choices_.saved.empty() || block < first_backward_ ? 0 : choices_.saved[block];
  }
  // Runs of `boundary_stride` blocks are counted from the last block that saves nothing: the input of each run's lowest
  // block lasts, and all of the highest run, whose backward comes next. So does what the first block writes.
  bool is_made_again(int block) const {
    const int above = last_recomputed() - block;
    return block >= 0 && above >= choices_.boundary_stride && (above + 1) % choices_.boundary_stride != 0 &&
           reads(block) >= 0 && reads(block - 1) >= 0;
  }
  int last_recomputed() const {
    int block = num_blocks() - 2;
    while (block >= 0 && saved(block) != 0) --block;
    return block;
  }
  bool waits_for_all(int block) const {
    const auto shared = [&](int chunk) { return trace_.chunks[chunk].trained && last_user(chunk) != block; };
    return reads(block) < 0 && std::ranges::any_of(trace_.blocks[block].chunks, shared);
  }
  int num_blocks() const { return static_cast<int>(trace_.blocks.size()); }
  int reads(int block) const { return trace_.blocks[block].reads; }
  int writes(int block) const { return trace_.blocks[block].writes; }
  const BlockTrace& traced(int block) const { return trace_.traces[trace_.blocks[block].trace]; }

  const StepTrace& trace_;
  const Recipe& recipe_;
  const StepChoices& choices_;
  const int update_tier_;
  const int first_backward_;
  struct {
    int first = 0, last = 0;
  } group_;  // of micro-batches: from `first` up to, not including, `last`
  int repeat_ = 0;
  BufferTable buffers_;
  bool trains_ = false;
  std::vector<char> seen_;
  std::vector<int> final_;    // chunks whose gradient is final, of the block that is not through yet
  std::vector<int> late_;     // chunks whose gradient goes down to its update
  std::vector<int> at_hand_;  // chunks that the last computation had whole
  std::vector<Row> rows_;
};

}  // namespace

StepRows emit_rows(Variant variant, const StepTrace& trace, const Recipe& recipe, const StepChoices& choices,
                   int update_tier, std::span<const EntryState> entry) {
  StepEmitter step(trace, recipe, choices, update_tier);
  if (variant != Variant::Train) step.touch_entry(entry, false);
  switch (variant) {
    case Variant::Train:
      step.train_step();
      break;
    case Variant::Flush:
      step.flush();
      break;
    case Variant::Evaluate:
      step.evaluate();
      break;
    case Variant::Generate:
      step.generate();
      break;
  }
  if (variant != Variant::Train) step.touch_entry(entry, variant == Variant::Flush);
  if (choices.hold_entry) step.hold(entry);
  return std::move(step).finish(variant);
}

}  // namespace sluice::plan
