// Where the numbers of a rule's states lie inside the plan's moment buffers: what the planner is told, what the update
// is handed, and what loading and saving go through. A sliced state has the elements of its slice in their order and
// then, in 8 bits, their scales; a small one has its tensors one after another.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "optim/rule_set.h"
#include "plan/step.h"
#include "plan/trace.h"

namespace sluice::exec {

/// What the planner must know of rules.
[[nodiscard]] std::vector<plan::RuleNeeds> rule_needs(const plan::StepTrace& trace, const optim::RuleSet& rules);

/// One array that a checkpoint holds of one state of one tensor.
struct StateArray {
  std::string name;   ///< STATE/PARAMETER, with ".absmax" for scales
  std::string dtype;  ///< "F32", "BF16", "U8"
  std::vector<std::int64_t> shape;
  int state = 0;
  bool scales = false;
  /// A tensor that files know as one may be several parameters.
  struct Part {
    int chunk = 0, parameter = 0;
    std::int64_t first = 0;  ///< item of the array with which it begins
  };
  std::vector<Part> parts = {};
};

/// A run of such a part inside one buffer.
struct StateRun {
  int parameter = 0;
  bool scales = false;
  std::int64_t first = 0, count = 0;  ///< items, from the part's first on
  Bytes offset = 0, item = 0;         ///< bytes: where the run begins, and of one item
};

/// Refers to what it was given. Pure.
class StateLayout {
 public:
  StateLayout(const plan::StepTrace& trace, const optim::RuleSet& rules);

  /// Of the states of one rule.
  [[nodiscard]] std::vector<plan::StateBytes> bytes(int rule) const;
  /// Of the state with this number of the rule of a chunk.
  [[nodiscard]] const optim::StateSpec& spec(int chunk, int state) const {
    return states_[trace_.chunks[chunk].rule][state];
  }
  /// All arrays, rule by rule and state by state.
  [[nodiscard]] std::vector<StateArray> arrays() const;
  /// What a moment buffer holds.
  [[nodiscard]] std::vector<StateRun> runs(const plan::Buffer& buffer) const;
  /// The same, of a rank with the elements `own` of the chunk, without what is another rank's to say: a small state
  /// that belongs to a tensor is of the rank with its first element.
  [[nodiscard]] std::vector<StateRun> own_runs(const plan::Buffer& buffer, const plan::ElementRange& own) const;
  /// For elements of a parameter from `first` on, all of them in the buffer at `memory`.
  [[nodiscard]] optim::StateView view(const plan::Buffer& buffer, std::byte* memory, int parameter,
                                      std::int64_t first) const;

 private:
  [[nodiscard]] std::int64_t count(int chunk, int state, int parameter) const;
  void add_arrays(const plan::PublishedTensor& tensor, int state, std::vector<StateArray>& result) const;
  [[nodiscard]] Bytes small_offset(int chunk, int state, int parameter) const;

  const plan::StepTrace& trace_;
  std::vector<std::span<const optim::StateSpec>> states_;  // per rule
};

}  // namespace sluice::exec
