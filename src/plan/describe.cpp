// Texts of actions and buffers; tolerant of broken plans, because the checker prints those.
#include "plan/describe.h"

#include <algorithm>

namespace sluice::plan {
namespace {

std::string numbered(const char* what, int index) { return std::string(" ") + what + " " + std::to_string(index); }

template <typename Named>
std::string named(const char* what, int index, const std::vector<Named>* names) {
  if (names != nullptr && index >= 0 && index < static_cast<int>(names->size()) && !(*names)[index].name.empty()) {
    return " " + (*names)[index].name;
  }
  return numbered(what, index);
}

std::string chunk_text(int chunk, const StepTrace* trace) {
  return named("chunk", chunk, trace != nullptr ? &trace->chunks : nullptr);
}

std::string class_text(const Buffer& saved, const StepTrace* trace) {
  if (trace == nullptr) return std::to_string(saved.saved_class);
  return trace->traces[trace->blocks[saved.block].trace].saved_classes[saved.saved_class];
}

}  // namespace

std::string describe_buffer(const Plan& plan, BufferId buffer, const StepTrace* trace) {
  if (buffer < 0 || buffer >= static_cast<BufferId>(plan.buffers.size())) return "buffer " + std::to_string(buffer);
  const Buffer& what = plan.buffers[buffer];
  std::string text = name(what.kind);
  if (what.moment >= 0) text += " " + std::to_string(what.moment);
  if (what.slice >= 0) text += numbered("slice", what.slice);
  if (what.chunk >= 0) text += chunk_text(what.chunk, trace);
  if (what.saved_class >= 0) text += " " + class_text(what, trace);
  if (what.boundary >= 0) text += " " + std::to_string(what.boundary);
  if (what.micro_batch >= 0) text += numbered("mb", what.micro_batch);
  if (what.block >= 0) text += named("block", what.block, trace != nullptr ? &trace->blocks : nullptr);
  return text;
}

std::string describe_action(const Plan& plan, const Action& action, const StepTrace* trace) {
  std::string text = name(action.kind);
  if (action.block >= 0) text += named("block", action.block, trace != nullptr ? &trace->blocks : nullptr);
  if (action.micro_batch >= 0) text += numbered("mb", action.micro_batch);
  if (action.segment >= 0) text += numbered("segment", action.segment);
  if (action.chunk >= 0) text += chunk_text(action.chunk, trace);
  if (action.slice >= 0) text += numbered("slice", action.slice);
  if (action.pass >= 0) text += numbered("pass", action.pass);
  if (action.repeat > 0) text += " again";
  if (action.among != Among::All) text += action.among == Among::Group ? " within the group" : " across groups";
  if (action.wire != NumberFormat::Fp32) text += std::string(" as ") + sluice::name(action.wire);
  const bool moves = action.block < 0 && action.chunk < 0;
  if (moves && !action.slots.empty()) text += " " + describe_buffer(plan, action.slots.front().buffer, trace);
  return text;
}

std::string describe_order(const Plan& plan) {
  const int all = plan.num_micro_batches, group = plan.group_size;
  std::string text = all == 1 ? "1 micro-batch" : std::to_string(all) + " micro-batches ";
  if (all > 1 && group == 1) text += "one after the other";
  if (all > 1 && group > 1) text += group >= all ? "together" : "in groups of " + std::to_string(group);
  const bool twice = std::ranges::any_of(plan.actions, [](const Action& action) { return action.repeat > 0; });
  if (twice) text += ", computed twice: for the norm, then for the update";
  if (plan.boundary_stride > 1) text += ", a boundary kept every " + std::to_string(plan.boundary_stride) + " blocks";
  if (plan.loss_in_segments) text += ", the loss by pieces of the vocabulary";
  return text;
}

}  // namespace sluice::plan
