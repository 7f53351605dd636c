// Plays a plan: the compute lane on the calling thread, the lanes that move on threads of their own, in the list's
// order and no other.
#pragma once
#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "collective/communicator.h"
#include "exec/agreement.h"
#include "exec/state.h"
#include "exec/tensor_place.h"
#include "exec/updater.h"
#include "model/compute.h"
#include "model/model.h"
#include "model/saved_layout.h"
#include "optim/clip.h"
#include "optim/norm.h"
#include "optim/rule_set.h"
#include "plan/plan.h"
#include "plan/timeline.h"
#include "plan/trace.h"
#include "tier/lanes.h"

namespace sluice::exec {

/// How one period differs from the next.
struct StepInputs {
  std::span<const model::MicroBatch> micro_batches;
  float gradient_scale = 1;  ///< loss scale / target tokens of the whole window: losses are normalised by it
  bool apply_update = true;  ///< a gradient is pending (or will be made in this period) and shall be applied
  bool compresses = true;    ///< false: ranks send whole what the plan has in one bit, and residuals stay
  /// For the gradient that this period applies. Its gradient_scale is final where the norm was found in the period
  /// before; else it takes out the loss scale, and `clip` says what comes on top.
  optim::UpdateArgs update;
  optim::Clipping clip = {};          ///< Total and Block: by norms of this period
  model::PassPosition position = {};  ///< Generate: where the tokens of the one micro-batch stand
};

struct StepResult {
  double loss_sum = 0;                        ///< over all target tokens of the period; in training those of all ranks
  std::vector<double> row_losses;             ///< Evaluate: the same per row, of all micro-batches one after the other
  optim::SquareSum sum_of_squares;            ///< of the whole gradient (training); NaN or infinity when one is in it
  int nonfinite_chunk = -1;                   ///< the first in backward's order whose gradient is not finite
  std::int64_t num_updates = 0;               ///< slices that were updated
  Seconds total = 0, compute = 0, stall = 0;  ///< of the compute lane
  std::span<const float> logits;              ///< Generate: of the last real token, in the arena until the next period
};

/// The other ranks of the run, as a plan of several needs them; borrowed.
struct RankLinks {
  collective::Communicator* lane = nullptr;       ///< all, of the communication lane's thread
  collective::Communicator* agreement = nullptr;  ///< all, of the calling thread
  collective::Communicator* group = nullptr;  ///< of the lane's thread, where ranks divide the state in groups: those
  collective::Communicator* replicas = nullptr;  ///< of this rank's group, and those with the same part (not `lane`)
};

struct ExecutorOptions {
  const model::Model* model = nullptr;
  const plan::StepTrace* trace = nullptr;
  const optim::RuleSet* rules = nullptr;  ///< their groups go before `decay`
  Decay decay = Decay::Matrices;
  tier::Device* device = nullptr;  ///< with two arenas: whose memory the first is; borrowed
  RankLinks ranks = {};
};

/// One thread calls it. After an exception the executor is only good for destruction; the state in the store is that of
/// the last completed write-backs.
class Executor {
 public:
  Executor(const ExecutorOptions& options, State& state);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// One period. Returns when the compute lane is through; other lanes may still be busy with it.
  StepResult run(const plan::Plan& plan, const StepInputs& inputs);
  /// Returns when every lane is idle: State may be read.
  void drain();
  /// Highest byte of a tier's arena that any action of any period so far has used, workspace included.
  [[nodiscard]] Bytes arena_peak(int tier) const { return arena_peak_[tier]; }
  /// What was measured in the last period that was drained or followed by another.
  [[nodiscard]] plan::Timeline timeline() const;

 private:
  [[nodiscard]] std::unique_ptr<tier::Mover> make_mover(plan::Lane lane) const;
  void wait_for_lanes(const tier::Period& period);
  void start_period(const plan::Plan& plan, const StepInputs& inputs);
  StepResult play_period(const plan::Plan& plan, const StepInputs& inputs);
  void measure_peak(const plan::Plan& plan);
  void play(const plan::Action& action, const StepInputs& inputs, StepResult& result);
  void forward(const plan::Action& action, const StepInputs& inputs, StepResult& result);
  void backward(const plan::Action& action, const StepInputs& inputs, StepResult& result);
  void reduce_norm(const plan::Action& action, StepResult& result);
  void add_norm(int chunk, const optim::SquareSum& sum, StepResult& result);
  void agree(StepResult& result);
  void clamp_gradient(const plan::Action& action, float bound);
  std::optional<optim::UpdateArgs> update_args(const plan::Action& action, const StepInputs& inputs,
                                               const StepResult& result) const;
  optim::SquareSum sum_of_squares(const plan::Action& action) const;
  /// Mask and addresses of the saved activations that an action touches.
  struct SavedPlaces {
    model::SavedMask mask = 0;
    model::SavedBuffers buffers;  // per class
  };
  SavedPlaces saved_places(const plan::Action& action) const;
  void forward_saving(const plan::Action& action, const model::BlockTensors& tensors, const SavedPlaces& places);
  at::Tensor chunk_tensor(const plan::Slot& slot) const;
  void generate(const plan::Action& action, const StepInputs& inputs, StepResult& result);
  model::BlockTensors tensors_of(const plan::Action& action, const StepInputs& inputs) const;
  at::Tensor boundary_tensor(const plan::Slot& slot, const model::MicroBatch& batch) const;
  std::byte* address(const plan::Slot& slot) const;
  float* floats(const plan::Slot& slot) const;
  float* element(const plan::Slot& slot, std::int64_t element) const;

  const ExecutorOptions options_;
  State& state_;
  std::optional<Updater> updater_;
  TensorPlace place_;
  Agreement agreement_;
  tier::Progress progress_;
  std::array<bool, plan::kNumLanes> has_lane_{};
  std::array<std::vector<plan::Span>, 2> spans_;  // of this period and the one before
  std::optional<tier::Period> period_;
  std::vector<Bytes> arena_peak_;                            // per tier
  std::map<std::pair<int, int>, model::SavedLayout> saved_;  // (block, micro-batch): what its forward saved
  at::Tensor logits_;                                        // Generate: of the last period
  std::vector<int> last_block_;                         // per chunk: with whose backward its gradient becomes whole
  std::vector<optim::SquareSum> block_sums_;            // of this period: what each block's backward made whole
  std::vector<std::unique_ptr<tier::MoveLane>> lanes_;  // last: their threads end before what they write to goes
};

}  // namespace sluice::exec
