#include "plan/saving.h"

#include <algorithm>

namespace sluice::plan {
namespace {

const BlockTrace& traced(const StepTrace& trace, std::size_t block) { return trace.traces[trace.blocks[block].trace]; }

}  // namespace

int num_saving_blocks(const StepTrace& trace) {
  int count = 0;
  for (std::size_t block = 0; block < trace.blocks.size(); ++block) count += traced(trace, block).all_classes() != 0;
  return count;
}

std::vector<SavedMask> saved_masks(const StepTrace& trace, const SavingPattern& pattern) {
  const int all = num_saving_blocks(trace);
  const int before = all - std::clamp(pattern.num_last, 0, all), spread = std::clamp(pattern.num_spread, 0, before);
  std::vector<SavedMask> masks(trace.blocks.size(), 0);
  int index = 0;
  for (std::size_t block = 0; block < masks.size(); ++block) {
    const SavedMask classes = traced(trace, block).all_classes();
    if (classes == 0) continue;
    if (index >= before) masks[block] = classes;
    // Of every `before` blocks `spread`: the whole part of the line grows at each of them.
    if (index < before && (index + 1) * spread / before > index * spread / before)
      masks[block] = classes & pattern.spread_classes;
    ++index;
  }
  return masks;
}

ActivationSummary summarize_activations(const Plan& plan, const StepTrace& trace) {
  std::vector<SavedMask> saved(trace.blocks.size(), 0);
  std::vector<char> moved(trace.blocks.size(), 0);
  for (const Buffer& buffer : plan.buffers) {
    if (buffer.kind == BufferKind::Saved) saved[buffer.block] |= SavedMask{1} << buffer.saved_class;
  }
  ActivationSummary summary;
  for (const Action& action : plan.actions) {
    if (action.kind != ActionKind::WriteBack || action.slots[0].tier != 0) continue;
    const Buffer& buffer = plan.buffers[action.slots[0].buffer];
    if (buffer.kind != BufferKind::Saved) continue;
    moved[buffer.block] = 1;
    summary.spilled_bytes += buffer.bytes;
  }
  for (std::size_t block = 0; block < saved.size(); ++block) {
    const SavedMask classes = traced(trace, block).all_classes();
    if (classes == 0 || static_cast<int>(block) < first_backward(trace)) continue;
    if (saved[block] == 0) {
      ++summary.recomputed;
    } else if (saved[block] != classes) {
      ++summary.in_part;
    } else {
      ++(moved[block] ? summary.spilled : summary.held);
    }
  }
  return summary;
}

std::string describe_activations(const ActivationSummary& summary, TierKind tier0) {
  std::string text = std::to_string(summary.held) + " of " + std::to_string(summary.total()) + " layers in " +
                     (tier0 == TierKind::Device ? "device memory" : "RAM") + ", " + std::to_string(summary.spilled) +
                     " spilled";
  if (summary.in_part > 0) text += ", " + std::to_string(summary.in_part) + " recomputed in part";
  text += ", " + std::to_string(summary.recomputed) + " recomputed";
  if (summary.spilled_bytes > 0) text += " (" + format_bytes(summary.spilled_bytes) + " spilled a step)";
  return text;
}

}  // namespace sluice::plan
