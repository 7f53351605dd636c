#include "exec/collective_mover.h"

#include <cstring>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/narrow.h"
#include "exec/compressed_sum.h"
#include "tier/lanes.h"

namespace sluice::exec {
namespace {

collective::ElementType element_type(NumberFormat wire) {
  switch (wire) {
    case NumberFormat::Fp32:
    case NumberFormat::Fp8:
    case NumberFormat::Nf4:     // of what is sent, never
    case NumberFormat::OneBit:  // has a sum of its own
      break;
    case NumberFormat::Bf16:
      return collective::ElementType::Bf16;
    case NumberFormat::Fp16:
      return collective::ElementType::Fp16;
  }
  return collective::ElementType::Fp32;
}

/// A buffer's numbers as they are sent: all of its bytes, or the upper half of them while numbers are narrow.
struct Wire {
  std::span<float> numbers;
  NumberFormat format = NumberFormat::Fp32;

  [[nodiscard]] bool is_narrow() const { return format != NumberFormat::Fp32; }
  [[nodiscard]] std::byte* data() const {
    return reinterpret_cast<std::byte*>(numbers.data()) + (is_narrow() ? numbers.size_bytes() / 2 : 0);
  }
  [[nodiscard]] std::byte* at(std::int64_t number) const { return data() + number * (is_narrow() ? 2 : 4); }
  [[nodiscard]] Wire part(std::int64_t first, std::int64_t count) const {
    return {numbers.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)), format};
  }
  void narrow() const { narrow_in_place(format, numbers); }
  void widen() const { sluice::widen(format, data(), numbers); }
  // `narrowed`: as many numbers in narrow form, anywhere in the memory around.
  void widen(const std::byte* narrowed) const {
    if (!is_narrow()) return;
    std::memmove(data(), narrowed, numbers.size_bytes() / 2);
    widen();
  }
};

class CollectiveMover final : public tier::Mover {
 public:
  CollectiveMover(const LaneRanks& ranks, std::span<const plan::Chunk> chunks, tier::ArenaBases arenas)
      : ranks_(ranks), chunks_(chunks), arenas_(std::move(arenas)) {}

  void begin(const tier::Period& period) override { compresses_ = period.compresses; }

  // A second slot is the part of the first or the whole of it; without one the part is the rank's range of the whole.
  void move(const plan::Action& action, const plan::Buffer& first) override {
    if (action.wire == NumberFormat::OneBit)
      return compresses_ ? sum_in_one_bit(action, first) : move(sent_whole(action), first);
    const Wire from = wire(action, action.slots.front(), first.num_elements);
    const bool in_place = action.slots.size() == 1;
    switch (action.kind) {
      case plan::ActionKind::AllGather:
        return in_place ? gather_in_place(action, from) : gather(action, from);
      case plan::ActionKind::ReduceScatter:
        return reduce_scatter(action, from);
      case plan::ActionKind::AllReduce:
        return all_reduce(action, first.shard || action.among == plan::Among::All ? from : own_part(from));
      default:
        SLUICE_CHECK(false, "no exchange of ranks is called ", plan::name(action.kind));
    }
  }

 private:
  void gather(const plan::Action& action, const Wire& part) const {
    collective::Communicator& ranks = among(action);
    const Wire whole = wire(action, action.slots.back(), part.numbers.size() * ranks.world_size());
    ranks.all_gather(part.data(), whole.data(), static_cast<std::int64_t>(part.numbers.size()),
                     element_type(part.format));
  }

  void gather_in_place(const plan::Action& action, const Wire& whole) const {
    collective::Communicator& ranks = among(action);
    const std::int64_t share = share_of(whole, ranks);
    whole.narrow();
    ranks.all_gather(whole.at(ranks.rank() * share), whole.data(), share, element_type(whole.format));
    whole.widen();
  }

  void reduce_scatter(const plan::Action& action, const Wire& whole) const {
    collective::Communicator& ranks = among(action);
    const std::int64_t share = share_of(whole, ranks), first = ranks.rank() * share;
    const bool in_place = action.slots.size() == 1;
    const Wire part = in_place ? whole.part(first, share) : wire(action, action.slots.back(), share);
    std::byte* const sum = in_place ? whole.at(first) : part.data();
    whole.narrow();
    ranks.reduce_scatter(whole.data(), sum, share, element_type(whole.format), into(action.slots));
    part.widen(sum);
  }

  // A part beside the whole that is not overwritten is a sum that has begun.
  static collective::Into into(const std::vector<plan::Slot>& slots) {
    const bool adds = slots.size() == 2 && slots.back().access == plan::Access::ReadWrite;
    return adds ? collective::Into::Add : collective::Into::Replace;
  }

  void all_reduce(const plan::Action& action, const Wire& values) const {
    values.narrow();
    among(action).all_reduce(values.data(), static_cast<std::int64_t>(values.numbers.size()),
                             element_type(values.format), collective::Reduce::Sum);
    values.widen();
  }

  // The last two slots are what is sent and what is kept.
  void sum_in_one_bit(const plan::Action& action, const plan::Buffer& first) const {
    collective::Communicator& ranks = among(action);
    const plan::Slot &signs = action.slots[action.slots.size() - 2], &residual = action.slots.back();
    const Wire whole = wire(action, action.slots.front(), first.num_elements);
    const std::int64_t share = share_of(whole, ranks);
    const bool in_parts = action.kind == plan::ActionKind::ReduceScatter, beside = action.slots.size() == 4;
    const Wire sum = !in_parts ? whole
                     : beside  ? wire(action, action.slots[1], share)
                               : whole.part(ranks.rank() * share, share);
    sum_compressed(ranks, chunks_[first.chunk],
                   {.gradient = whole.numbers,
                    .residual = wire(action, residual, first.num_elements).numbers,
                    .sum = sum.numbers,
                    .signs = arenas_[signs.tier] + signs.offset});
  }
  static plan::Action sent_whole(plan::Action action) {
    action.slots.resize(action.slots.size() - 2);
    action.wire = NumberFormat::Fp32;
    return action;
  }

  [[nodiscard]] Wire own_part(const Wire& whole) const {
    const std::int64_t share = share_of(whole, *ranks_.group);
    return whole.part(ranks_.group->rank() * share, share);
  }
  static std::int64_t share_of(const Wire& whole, const collective::Communicator& ranks) {
    return static_cast<std::int64_t>(whole.numbers.size()) / ranks.world_size();
  }
  [[nodiscard]] Wire wire(const plan::Action& action, const plan::Slot& slot, std::int64_t num_elements) const {
    auto* const floats = reinterpret_cast<float*>(arenas_[slot.tier] + slot.offset);
    return {{floats, static_cast<std::size_t>(num_elements)}, action.wire};
  }
  [[nodiscard]] collective::Communicator& among(const plan::Action& action) const {
    collective::Communicator* const ranks = action.among == plan::Among::All     ? ranks_.all
                                            : action.among == plan::Among::Group ? ranks_.group
                                                                                 : ranks_.replicas;
    SLUICE_CHECK(ranks != nullptr, "no ranks are joined as ", plan::name(action.among));
    return *ranks;
  }

  const LaneRanks ranks_;
  const std::span<const plan::Chunk> chunks_;
  const tier::ArenaBases arenas_;
  bool compresses_ = true;  // in this period
};

}  // namespace

std::unique_ptr<tier::Mover> make_collective_mover(const LaneRanks& ranks, std::span<const plan::Chunk> chunks,
                                                   tier::ArenaBases arenas) {
  return std::make_unique<CollectiveMover>(ranks, chunks, std::move(arenas));
}

}  // namespace sluice::exec
