// Where the numbers of a rule's states lie inside the plan's moment buffers: what the planner is told, what the update
// is handed, and what loading and saving go through. A sliced state has the elements of its slice in their order and
// then, in 8 bits, their scales; a small one has its tensors one after another.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "optim/state_spec.h"
#include "plan/step.h"
#include "plan/trace.h"

namespace sluice::exec {

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
  StateLayout(const plan::StepTrace& trace, std::span<const optim::StateSpec> states);

  [[nodiscard]] std::vector<plan::StateBytes> bytes() const;
  /// All arrays, state by state.
  [[nodiscard]] std::vector<StateArray> arrays() const;
  /// What a moment buffer holds.
  [[nodiscard]] std::vector<StateRun> runs(const plan::Buffer& buffer) const;
  /// For elements of a parameter from `first` on, all of them in the buffer at `memory`.
  [[nodiscard]] optim::StateView view(const plan::Buffer& buffer, std::byte* memory, int parameter,
                                      std::int64_t first) const;

 private:
  [[nodiscard]] std::int64_t count(int chunk, int state, int parameter) const;
  [[nodiscard]] Bytes small_offset(int chunk, int state, int parameter) const;

  const plan::StepTrace& trace_;
  std::span<const optim::StateSpec> states_;
};

}  // namespace sluice::exec
