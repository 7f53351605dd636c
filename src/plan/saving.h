// Which blocks save what for their backward: the patterns among which the planner chooses, and what became of the
// activations in a finished plan.
#pragma once
#include <string>
#include <vector>

#include "plan/plan.h"
#include "plan/trace.h"

namespace sluice::plan {

/// The last blocks save everything: their activations wait shortest. Of those before them some save a few classes, in
/// even distances, so that the links below get their bytes evenly.
struct SavingPattern {
  int num_last = 0;
  int num_spread = 0;
  SavedMask spread_classes = ~SavedMask{0};
  bool operator==(const SavingPattern&) const = default;
};

/// How many blocks can save anything.
[[nodiscard]] int num_saving_blocks(const StepTrace& trace);

/// StepChoices::saved of a pattern; its counts are cut to what the model has.
[[nodiscard]] std::vector<SavedMask> saved_masks(const StepTrace& trace, const SavingPattern& pattern);

/// Blocks that can save activations, by what a training plan does with them.
struct ActivationSummary {
  int held = 0;     ///< all saved, in tier 0 from forward to backward
  int spilled = 0;  ///< all saved, some of it in a tier below in between
  int in_part = 0;  ///< some classes saved, the others recomputed
  int recomputed = 0;
  Bytes spilled_bytes = 0;  ///< saved activations that leave tier 0 in one step
  [[nodiscard]] int total() const { return held + spilled + in_part + recomputed; }
};
[[nodiscard]] ActivationSummary summarize_activations(const Plan& plan, const StepTrace& trace);

/// "12 of 30 layers in RAM, 18 spilled, 0 recomputed (774.0 MiB spilled a step)".
[[nodiscard]] std::string describe_activations(const ActivationSummary& summary, TierKind tier0);

}  // namespace sluice::plan
