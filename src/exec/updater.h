// The update of one slice of one chunk: cuts it into the parts that the rule wants and deals them out to threads.
#pragma once
#include <array>
#include <functional>
#include <span>
#include <vector>

#include "collective/communicator.h"
#include "exec/state_layout.h"
#include "exec/tensor_place.h"
#include "exec/tensor_sums.h"
#include "optim/rule_set.h"
#include "plan/plan.h"
#include "plan/trace.h"
#include "tier/mover.h"

namespace sluice::exec {

/// Which parameters decay.
enum class Decay { Matrices, All };

/// Refers to what it was given. Memory for sums is taken by the constructor; `slice_elements` is the plan's.
class Updater {
 public:
  Updater(const plan::StepTrace& trace, const optim::RuleSet& rules, Decay decay,
          std::span<const std::int64_t> slice_elements, const TensorPlace& place);

  /// Plays an Update of `plan` in `arenas`. Of a tensor that lies in one slice the measuring passes are made in the
  /// last row, just before it is applied: much of it is still in a cache then. (Not where ranks divide states and these
  /// passes change them.) The rows of a chunk come one after the other and end with the one that applies slice 0.
  void run(const plan::Plan& plan, const plan::Action& action, const tier::ArenaBases& arenas,
           const optim::UpdateArgs& args);

  /// Plays an exchange of sums or directions (Recv, Send or Broadcast of a pass before the last): of tensors that lie
  /// in the parts of several ranks. Collective; throws CommError.
  void exchange(const plan::Plan& plan, const plan::Action& action, const tier::ArenaBases& arenas,
                const optim::UpdateArgs& args, collective::Communicator& ranks);

 private:
  static constexpr std::size_t kMostStates = 8;

  /// What an action touches, as addresses.
  struct Places {
    std::byte* weight = nullptr;
    NumberFormat held = NumberFormat::Fp32;  ///< the weights there
    float* gradient = nullptr;
    std::int64_t first_weight = 0, first_gradient = 0;  ///< elements of the chunk that stand there
    struct State {
      const plan::Buffer* buffer = nullptr;
      std::byte* memory = nullptr;
    };
    std::array<State, kMostStates> states;
    bool on_device = false;  ///< memory that the host may not touch
  };
  /// Elements [first, last) of a parameter.
  struct Range {
    const plan::Chunk* chunk = nullptr;
    int parameter = 0;
    std::int64_t first = 0, last = 0;
    [[nodiscard]] const plan::ParameterSlot& slot() const { return chunk->parameters[parameter]; }
  };
  [[nodiscard]] Places places_of(const plan::Plan& plan, const plan::Action& action,
                                 const tier::ArenaBases& arenas) const;
  [[nodiscard]] const optim::UpdateRule& rule_of(const plan::Chunk& chunk) const { return *rules_[chunk.rule].rule; }
  [[nodiscard]] optim::UpdateArgs args_of(const plan::Chunk& chunk, const plan::ParameterSlot& slot,
                                          const optim::UpdateArgs& args) const;
  using States = std::array<optim::StateView, kMostStates>;
  std::span<const optim::StateView> states_of(const Places& places, const Range& range, States& memory) const;
  [[nodiscard]] optim::Part part_of(const Places& places, const Range& range, std::span<float> parameter,
                                    States& memory);
  void with_part(const Places& places, const Range& range, const std::function<void(const optim::Part&)>& use);
  void measure(int pass, const Places& places, const Range& range, const optim::UpdateArgs& args);
  void conclude(int pass, const Places& places, const Range& range, const optim::UpdateArgs& args);
  void apply(const Places& places, const Range& range, const optim::UpdateArgs& args);
  void apply_whole(const Places& places, const Range& range, const optim::UpdateArgs& args);
  void run_jointly(int pass, const Places& places, const Range& range, const optim::UpdateArgs& args);
  void exchange_directions(const plan::Plan& plan, const plan::Action& action, const tier::ArenaBases& arenas,
                           collective::Communicator& ranks);
  void for_each_part(const Places& places, const Range& range, const std::function<void(const optim::Part&)>& use);

  const plan::StepTrace& trace_;
  const optim::RuleSet& rules_;
  const Decay decay_;
  const TensorPlace& place_;
  StateLayout layout_;
  std::vector<TensorSums> sums_;                           // per rule
  const plan::Chunk* begun_ = nullptr;                     // whose sums are being made
  std::vector<std::vector<std::int64_t>> first_in_model_;  // per chunk and parameter
};

}  // namespace sluice::exec
