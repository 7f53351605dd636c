#include "exec/executor.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/fail_point.h"
#include "exec/collective_mover.h"
#include "exec/device_update.h"
#include "model/cpu_allocator.h"
#include "model/parallel.h"
#include "optim/norm.h"

namespace sluice::exec {
namespace {

using Clock = std::chrono::steady_clock;

Seconds since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The losses of one micro-batch's rows among those of all.
std::span<double> rows_of(int micro_batch, std::span<const model::MicroBatch> all, std::vector<double>& losses) {
  std::size_t first = 0, total = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (static_cast<int>(i) == micro_batch) first = total;
    total += static_cast<std::size_t>(all[i].input_ids.size(0));
  }
  losses.resize(total);
  return std::span(losses).subspan(
      first, static_cast<std::size_t>(all[static_cast<std::size_t>(micro_batch)].input_ids.size(0)));
}

}  // namespace

Executor::Executor(const ExecutorOptions& options, State& state)
    : options_(options),
      state_(state),
      place_(options.device),
      agreement_(options.ranks.agreement),
      arena_peak_(state.arenas().size(), 0),
      last_block_(options.trace->chunks.size(), -1) {
  if (options.rules != nullptr)
    updater_.emplace(*options.trace, *options.rules, options.decay, state.slice_elements(), place_);
  for (int block = static_cast<int>(options.trace->blocks.size()) - 1; block >= 0; --block) {
    for (const int chunk : options.trace->blocks[block].chunks) last_block_[chunk] = block;
  }
  for (int i = 0; i < plan::kNumLanes; ++i) {
    const auto lane = static_cast<plan::Lane>(i);
    std::unique_ptr<tier::Mover> mover = make_mover(lane);
    if (!mover) continue;
    lanes_.push_back(std::make_unique<tier::MoveLane>(lane, std::move(mover), progress_));
    has_lane_[i] = true;
  }
}

// Who plays which lane; none where there is nothing to move between.
std::unique_ptr<tier::Mover> Executor::make_mover(plan::Lane lane) const {
  switch (lane) {
    case plan::Lane::DiskRead:
    case plan::Lane::DiskWrite:
      if (state_.store() == nullptr) return nullptr;
      return tier::make_disk_mover(*state_.store(), state_.arenas(), state_.objects());
    case plan::Lane::HostToDevice:
    case plan::Lane::DeviceToHost:
      if (state_.arenas().size() < 2) return nullptr;
      SLUICE_CHECK(options_.device != nullptr, "two arenas and no device");
      return tier::make_copy_mover(options_.device->open_line(), state_.arenas());
    case plan::Lane::Communication:
      if (options_.ranks.lane == nullptr && options_.ranks.group == nullptr) return nullptr;
      return make_collective_mover({options_.ranks.lane, options_.ranks.group, options_.ranks.replicas},
                                   options_.trace->chunks, state_.arenas());
    case plan::Lane::Compute:
      return nullptr;
  }
  return nullptr;
}

Executor::~Executor() = default;

void Executor::start_period(const plan::Plan& plan, const StepInputs& inputs) {
  if (period_ && period_->plan != &plan) {
    drain();
    period_.reset();
    progress_.restart();
  }
  tier::Period next{.plan = &plan,
                    .number = period_ ? period_->number + 1 : 0,
                    .apply_update = inputs.apply_update,
                    .compresses = inputs.compresses,
                    .start = Clock::now()};
  auto& spans = spans_[next.number % 2];
  if (next.number >= 2) {  // the spans to be reused belong to two periods ago: every lane must have left it
    tier::Period old = *period_;
    old.number -= 1;
    wait_for_lanes(old);
  }
  spans.assign(plan.actions.size(), plan::Span{});
  next.spans = &spans;
  period_ = next;
  for (const auto& lane : lanes_) lane->post(next);
}

// Lanes and other ranks that wait for what this thread will never do must not wait for ever.
StepResult Executor::run(const plan::Plan& plan, const StepInputs& inputs) {
  try {
    return play_period(plan, inputs);
  } catch (...) {
    progress_.fail(std::current_exception());
    if (options_.ranks.agreement != nullptr) options_.ranks.agreement->end("this rank has failed in its computation");
    throw;
  }
}

StepResult Executor::play_period(const plan::Plan& plan, const StepInputs& inputs) {
  start_period(plan, inputs);
  const tier::Period& period = *period_;
  StepResult result;
  block_sums_.assign(options_.trace->blocks.size(), {});
  agreement_.start_period(inputs.micro_batches.size());
  for (const model::MicroBatch& batch : inputs.micro_batches) model::check_batch(batch, options_.model->vocab_size);
  place_.bring(inputs.micro_batches);
  for (std::int32_t i = 0; i < static_cast<std::int32_t>(plan.actions.size()); ++i) {
    const plan::Action& action = plan.actions[i];
    if (action.lane != plan::Lane::Compute) {
      SLUICE_CHECK(has_lane_[static_cast<int>(action.lane)], "no backend for the lane ", plan::name(action.lane));
      continue;
    }
    const Seconds ready = since(period.start);
    progress_.wait_for_dependencies(action, period);  // for skipped actions too, as the lanes do
    const Seconds start = since(period.start);
    result.stall += start - ready;
    if (!period.skips(action)) {
      plan::Span& span = (*period.spans)[i];
      span.start = start;
      play(action, inputs, result);
      place_.wait();
      span.end = since(period.start);
      result.compute += span.end - span.start;
    }
    progress_.finish(plan::Lane::Compute, period, i);
  }
  progress_.finish(plan::Lane::Compute, period);
  result.total = since(period.start);
  measure_peak(plan);
  return result;
}

// From the addresses that were really used: the slots of what ran, and the allocator's own mark.
void Executor::measure_peak(const plan::Plan& plan) {
  arena_peak_[0] = std::max(arena_peak_[0], place_.workspace_peak());
  for (const plan::Action& action : plan.actions) {
    if (period_->skips(action)) continue;
    for (const plan::Slot& slot : action.slots) {
      if (slot.offset < 0) continue;
      Bytes& peak = arena_peak_[slot.tier];
      peak = std::max(peak, slot.offset + plan.buffers[slot.buffer].bytes);
    }
  }
}

void Executor::wait_for_lanes(const tier::Period& period) {
  for (const auto& lane : lanes_) progress_.wait_for_lane(lane->lane(), period);
}

void Executor::drain() {
  if (period_) wait_for_lanes(*period_);
}

plan::Timeline Executor::timeline() const {
  plan::Timeline timeline;
  if (!period_) return timeline;
  const auto& spans = *period_->spans;
  Seconds waited_from = 0;
  for (std::int32_t i = 0; i < static_cast<std::int32_t>(spans.size()); ++i) {
    const plan::Action& action = period_->plan->actions[i];
    if (spans[i].end <= spans[i].start) continue;
    timeline.spans.push_back({i, spans[i].start, spans[i].end});
    if (action.lane == plan::Lane::DiskRead) timeline.disk_read += action.bytes;
    if (action.lane == plan::Lane::DiskWrite) timeline.disk_written += action.bytes;
    if (action.lane != plan::Lane::Compute) continue;
    timeline.compute += spans[i].end - spans[i].start;
    timeline.stall += std::max(0.0, spans[i].start - waited_from);
    waited_from = spans[i].end;
    timeline.total = spans[i].end;
  }
  std::sort(timeline.spans.begin(), timeline.spans.end(),
            [](const plan::Span& a, const plan::Span& b) { return a.start < b.start; });
  return timeline;
}

void Executor::play(const plan::Action& action, const StepInputs& inputs, StepResult& result) {
  place_.limit_workspace(action.workspace);
  switch (action.kind) {
    case plan::ActionKind::Forward:
      forward(action, inputs, result);
      return;
    case plan::ActionKind::Backward:
      backward(action, inputs, result);
      return;
    case plan::ActionKind::ReduceNorm:
      reduce_norm(action, result);
      return;
    case plan::ActionKind::Update:
      if (const auto args = update_args(action, inputs, result)) {
        if (inputs.clip.kind == optim::ClipKind::Value && action.pass <= 0)  // later passes find it done
          clamp_gradient(action, static_cast<float>(inputs.clip.bound / args->gradient_scale));
        updater_->run(*period_->plan, action, state_.arenas(), *args);
        result.num_updates += 1;
      }
      return;
    case plan::ActionKind::AllReduce:  // on this lane: of numbers, not of tensors
      agree(result);
      return;
    case plan::ActionKind::Broadcast:  // as are these: of what updates measure
    case plan::ActionKind::Send:
    case plan::ActionKind::Recv:
      SLUICE_CHECK(agreement_.is_needed(), "a plan of several ranks, played by one");
      if (const auto args = update_args(action, inputs, result))
        updater_->exchange(*period_->plan, action, state_.arenas(), *args, *options_.ranks.agreement);
      return;
    case plan::ActionKind::Evict:
      return;
    case plan::ActionKind::Fetch:
    case plan::ActionKind::WriteBack:
    case plan::ActionKind::Convert:
    case plan::ActionKind::AllGather:
    case plan::ActionKind::ReduceScatter:
    case plan::ActionKind::AllToAll:
      SLUICE_CHECK(false, "no backend for the action ", plan::name(action.kind), " on the compute lane");
  }
}

void Executor::forward(const plan::Action& action, const StepInputs& inputs, StepResult& result) {
  if (period_->plan->variant == plan::Variant::Generate) return generate(action, inputs, result);
  const model::Block& block = *options_.model->blocks[action.block].block;
  const bool evaluates = period_->plan->variant == plan::Variant::Evaluate;
  model::BlockTensors tensors = tensors_of(action, inputs);
  if (evaluates) tensors.row_losses = rows_of(action.micro_batch, inputs.micro_batches, result.row_losses);
  if (action.segment >= 0) {
    const auto computation = evaluates ? model::Computation::Evaluate : model::Computation::Forward;
    const double loss = model::run_segment(block, computation, action.segment, tensors);
    if (evaluates) result.loss_sum += loss;
    return;
  }
  if (evaluates) {
    result.loss_sum += model::run_evaluate(block, tensors);
  } else if (const SavedPlaces places = saved_places(action); places.mask != 0) {
    forward_saving(action, tensors, places);
  } else {
    model::run_forward(block, tensors);
  }
}

// The trace says which allocations will be saved, so they are made where the plan wants them; if it says nothing they
// are copied there. Tensors go, bytes stay.
void Executor::forward_saving(const plan::Action& action, const model::BlockTensors& tensors,
                              const SavedPlaces& places) {
  const model::Block& block = *options_.model->blocks[action.block].block;
  const plan::BlockTrace& trace = options_.trace->traces[options_.trace->blocks[action.block].trace];
  std::vector<model::PlannedAllocation> allocations;
  for (const plan::SavedAllocation& saved : trace.forward[places.mask].saved)
    allocations.push_back({saved.id, places.buffers[saved.saved_class] + saved.offset});
  const bool copies = allocations.empty();
  const model::PlannedAllocations planned(std::move(allocations));
  const model::SavedTensors saved = model::run_forward_saving(block, tensors, places.mask);
  model::SavedLayout layout(saved);
  if (copies) {
    (void)layout.copy(saved, places.buffers, place_.torch_device());
  } else {
    SLUICE_CHECK(layout.stands_in(places.buffers), block.name(), " allocates in another order than its trace");
  }
  saved_.insert_or_assign({action.block, action.micro_batch}, std::move(layout));
}

void Executor::backward(const plan::Action& action, const StepInputs& inputs, StepResult& result) {
  const model::Block& block = *options_.model->blocks[action.block].block;
  for (const plan::Slot& slot : action.slots) {
    const plan::Buffer& buffer = period_->plan->buffers[slot.buffer];
    if (buffer.kind == plan::BufferKind::Gradient && slot.access == plan::Access::Write)
      place_.view(address(slot), {buffer.bytes / Bytes{sizeof(float)}}).zero_();
  }
  const model::BlockTensors tensors = tensors_of(action, inputs);
  double loss = 0;
  if (action.segment >= 0) {
    loss = model::run_segment(block, model::Computation::Backward, action.segment, tensors);
  } else {
    model::SavedTensors saved;
    if (const SavedPlaces places = saved_places(action); places.mask != 0)
      saved = saved_.at({action.block, action.micro_batch}).bind(places.buffers, place_.torch_device());
    loss = model::run_backward(block, tensors, std::move(saved));
  }
  if (action.repeat == 0) {  // the second time it is the same
    result.loss_sum += loss;
    agreement_.add_loss(action.micro_batch, loss);
  }
  if (fail_point("exec.gradient") == 0) return;
  const auto trained = std::ranges::find_if(tensors.gradients, &at::Tensor::defined);
  trained->fill_(std::numeric_limits<float>::infinity());
}

void Executor::reduce_norm(const plan::Action& action, StepResult& result) {
  const optim::SquareSum sum = sum_of_squares(action);
  if (agreement_.is_needed()) {
    agreement_.add_norm(action.chunk, sum);
  } else {
    add_norm(action.chunk, sum, result);
  }
}

void Executor::add_norm(int chunk, const optim::SquareSum& sum, StepResult& result) {
  if (result.nonfinite_chunk < 0 && !std::isfinite(sum.value())) result.nonfinite_chunk = chunk;
  block_sums_[last_block_[chunk]].merge(sum);
  result.sum_of_squares.merge(sum);
}

void Executor::agree(StepResult& result) {
  SLUICE_CHECK(agreement_.is_needed(), "a plan of several ranks, played by one");
  const plan::Sharding& sharding = period_->plan->sharding;
  result.loss_sum = agreement_.agree(sharding.states() ? sharding.ranks_per_group() : 1);
  for (const auto& [chunk, sum] : agreement_.norms()) add_norm(chunk, sum, result);
  agreement_.forget_norms();
}

// Added exactly: the same bits for any number of threads, any order of chunks and any division between ranks.
optim::SquareSum Executor::sum_of_squares(const plan::Action& action) const {
  constexpr std::int64_t kPiece = 1 << 18;
  const plan::ElementRange own = plan::own_range(*period_->plan, options_.trace->chunks[action.chunk].num_elements);
  float* const gradient = element(action.slots[0], own.first);
  if (place_.holds(action.slots[0]))
    return square_sum_on_device(place_, reinterpret_cast<std::byte*>(gradient), own.count);
  std::vector<optim::SquareSum> pieces((own.count + kPiece - 1) / kPiece);
  model::parallel_ranges(static_cast<std::int64_t>(pieces.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p) {
      const std::int64_t first = p * kPiece;
      pieces[p].add({gradient + first, static_cast<std::size_t>(std::min(kPiece, own.count - first))});
    }
  });
  optim::SquareSum sum;
  for (const optim::SquareSum& piece : pieces) sum.merge(piece);
  return sum;
}

// Where an element of the chunk is in a buffer that holds some of them.
float* Executor::element(const plan::Slot& slot, std::int64_t element) const {
  return floats(slot) + (element - period_->plan->buffers[slot.buffer].first_element);
}

// None: the update is not to be. A plan that measures before it updates knows only here; the checker has proven that
// what is read here is whole.
std::optional<optim::UpdateArgs> Executor::update_args(const plan::Action& action, const StepInputs& inputs,
                                                       const StepResult& result) const {
  optim::UpdateArgs args = inputs.update;
  if (action.skip == plan::SkipWhen::Never || action.skip == plan::SkipWhen::NoUpdate) return args;
  const optim::SquareSum &of_block = block_sums_[last_block_[action.chunk]], &of_all = result.sum_of_squares;
  const double decides = (action.skip == plan::SkipWhen::BlockNotFinite ? of_block : of_all).value();
  if (!inputs.apply_update || !std::isfinite(decides) || !std::isfinite(result.loss_sum)) return std::nullopt;
  if (inputs.clip.kind == optim::ClipKind::Total || inputs.clip.kind == optim::ClipKind::Block) {
    const double sum = (inputs.clip.kind == optim::ClipKind::Block ? of_block : of_all).value();
    args.gradient_scale = optim::clipped_scale(sum, args.gradient_scale, inputs.clip.bound);
  }
  return args;
}

// In place, so that no rule need know of it.
void Executor::clamp_gradient(const plan::Action& action, float bound) {
  const plan::ElementRange range =
      plan::slice_range(*period_->plan, action.chunk, action.slice, options_.trace->chunks[action.chunk].num_elements);
  float* gradient = element(action.slots[1], range.first);
  if (place_.holds(action.slots[1])) {
    place_.view(reinterpret_cast<std::byte*>(gradient), {range.count}).clamp_(-bound, bound);
    return;
  }
  model::parallel_ranges(range.count, 1 << 16, [&](std::int64_t first, std::int64_t last) {
    optim::clamp_values({gradient + first, static_cast<std::size_t>(last - first)}, bound);
  });
}

}  // namespace sluice::exec
