#include "exec/collective_mover.h"

#include <utility>

#include "base/check.h"

namespace sluice::exec {
namespace {

constexpr auto kType = collective::ElementType::Fp32;

class CollectiveMover final : public tier::Mover {
 public:
  CollectiveMover(collective::Communicator& ranks, tier::ArenaBases arenas)
      : ranks_(ranks), arenas_(std::move(arenas)) {}

  // A second slot is the part of the first or the whole of it; without one the part is the rank's range of the whole.
  void move(const plan::Action& action, const plan::Buffer& first) override {
    const bool in_place = action.slots.size() == 1;
    float* const from = floats(action.slots.front());
    float* const to = floats(action.slots.back());
    const std::int64_t share = first.num_elements / ranks_.world_size();
    switch (action.kind) {
      case plan::ActionKind::AllGather:
        if (in_place) return ranks_.all_gather(from + ranks_.rank() * share, from, share, kType);
        return ranks_.all_gather(from, to, first.num_elements, kType);
      case plan::ActionKind::ReduceScatter:
        return ranks_.reduce_scatter(from, in_place ? from + ranks_.rank() * share : to, share, kType,
                                     into(action.slots));
      case plan::ActionKind::AllReduce:
        return ranks_.all_reduce(from, first.num_elements, kType, collective::Reduce::Sum);
      default:
        SLUICE_CHECK(false, "no exchange of ranks is called ", plan::name(action.kind));
    }
  }

 private:
  // A part beside the whole that is not overwritten is a sum that has begun.
  static collective::Into into(const std::vector<plan::Slot>& slots) {
    const bool adds = slots.size() == 2 && slots.back().access == plan::Access::ReadWrite;
    return adds ? collective::Into::Add : collective::Into::Replace;
  }

  [[nodiscard]] float* floats(const plan::Slot& slot) const {
    return reinterpret_cast<float*>(arenas_[slot.tier] + slot.offset);
  }

  collective::Communicator& ranks_;
  const tier::ArenaBases arenas_;
};

}  // namespace

std::unique_ptr<tier::Mover> make_collective_mover(collective::Communicator& ranks, tier::ArenaBases arenas) {
  return std::make_unique<CollectiveMover>(ranks, std::move(arenas));
}

}  // namespace sluice::exec
