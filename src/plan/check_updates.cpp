// When weights may change: between steps as the model sees them. An update stands before the first or after the last
// computation of the period that uses the weight; one that waits for a norm of its own period stands after everything
// that the norm is made of.
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "plan/check_rules.h"

namespace sluice::plan {
namespace {

class UpdateCheck {
 public:
  UpdateCheck(const Plan& plan, CheckReport& report) : plan_(plan), report_(report) {}

  void run() {
    collect();
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(plan_.actions.size()); ++i) {
      const Action& action = plan_.actions[i];
      if (action.kind != ActionKind::Update && !exchanges_sums(action) && waits(action))
        report_.add(i, -1, "only an update may wait for a norm");
      if (action.kind == ActionKind::Forward || action.kind == ActionKind::Backward) compute(i);
      if (action.kind == ActionKind::ReduceNorm) reduce(i);
      if (action.kind == ActionKind::Update) update(i);
    }
    if (plan_.variant == Variant::Train) all_slices();
  }

 private:
  struct Gradient {  // of a chunk
    int block = -1;  // the last to add to it
    std::int32_t last_add = -1, norm = -1;
  };

  static bool waits(const Action& action) {
    return action.skip == SkipWhen::BlockNotFinite || action.skip == SkipWhen::StepNotFinite;
  }

  // The whole list first: what a norm is made of may also stand where it should not.
  void collect() {
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(plan_.actions.size()); ++i) {
      const Action& action = plan_.actions[i];
      for (const Slot& slot : action.slots) {
        const Buffer& buffer = plan_.buffers[slot.buffer];
        if (action.kind != ActionKind::Backward || buffer.kind != BufferKind::Gradient) continue;
        gradients_[buffer.chunk].block = action.block;
        gradients_[buffer.chunk].last_add = i;
      }
    }
  }

  void compute(std::int32_t i) {
    for (const Slot& slot : plan_.actions[i].slots) {
      if (plan_.buffers[slot.buffer].kind != BufferKind::Weight) continue;
      if (changed_.contains(slot.buffer))
        report_.add(i, slot.buffer, "computes with weights that an update changed in the middle of the step");
      used_.insert(slot.buffer);
    }
  }

  void reduce(std::int32_t i) {
    const auto found = gradients_.find(plan_.actions[i].chunk);
    if (found == gradients_.end()) return;  // of a plan cut short: it measures what the period before left
    if (found->second.norm >= 0) report_.add(i, -1, "measures a gradient for the second time");
    found->second.norm = i;
  }

  void update(std::int32_t i) {
    const Action& action = plan_.actions[i];
    bool applies = false;
    for (const Slot& slot : action.slots) {
      if (plan_.buffers[slot.buffer].kind != BufferKind::Weight || slot.access == Access::Read) continue;
      applies = true;
      if (used_.contains(slot.buffer)) changed_.insert(slot.buffer);
    }
    if (applies && !updated_.insert({action.chunk, action.slice}).second) report_.add(i, -1, "updates a slice twice");
    if (!waits(action)) return;
    const auto own = gradients_.find(action.chunk);
    if (own == gradients_.end() || i < own->second.last_add) {
      report_.add(i, -1, "applies a sum before the last pass has made it");
      return;
    }
    for (const auto& [chunk, gradient] : gradients_) {
      const bool counts = action.skip == SkipWhen::StepNotFinite || gradient.block == own->second.block;
      if (counts && gradient.norm < 0)
        report_.add(i, -1, "waits for a norm that is not known yet (chunk " + std::to_string(chunk) + ")");
    }
  }

  // A plan made by hand may not say how many slices there are.
  void all_slices() {
    for (const auto& [chunk, gradient] : gradients_) {
      if (chunk >= static_cast<int>(plan_.slice_elements.size()) || plan_.slice_elements[chunk] <= 0) continue;
      std::int64_t elements = 0;  // of all ranks
      for (const Buffer& buffer : plan_.buffers) {
        if (buffer.kind != BufferKind::Weight || buffer.chunk != chunk) continue;
        elements = buffer.num_elements * (buffer.shard ? plan_.sharding.num_ranks : 1);
      }
      for (int slice = 0; slice_range(plan_, chunk, slice, elements).count > 0; ++slice) {
        if (!updated_.contains({chunk, slice}))
          report_.add("chunk " + std::to_string(chunk) + ": its slice " + std::to_string(slice) + " is never updated");
      }
    }
  }

  const Plan& plan_;
  CheckReport& report_;
  std::map<int, Gradient> gradients_;      // by chunk
  std::set<BufferId> used_, changed_;      // weights, as far as the walk has come
  std::set<std::pair<int, int>> updated_;  // chunk and slice
};

}  // namespace

void check_updates(const Plan& plan, CheckReport& report) { UpdateCheck(plan, report).run(); }

}  // namespace sluice::plan
