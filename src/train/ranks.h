// The ranks of a run as one of them sees them: alone, or joined by whatever launched the job.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "collective/communicator.h"
#include "exec/executor.h"
#include "launch/environment.h"
#include "recipe/settings.h"

namespace sluice::train {

/// One thread calls it (one rank alone may have communicators, too: a plan in the fixed order adds through them); all
/// ranks make the same calls in the same order. Each throws CommError.
class Ranks {
 public:
  Ranks() = default;  ///< one rank, alone
  /// Joins the job that `environment` names, over the library and with the deadline that settings name.
  Ranks(const launch::Environment& environment, const recipe::Settings& settings);

  [[nodiscard]] bool are_many() const { return count() > 1; }
  [[nodiscard]] int rank() const { return world_ ? world_->rank() : 0; }
  [[nodiscard]] int count() const { return world_ ? world_->world_size() : 1; }
  [[nodiscard]] int per_node() const { return per_node_; }
  [[nodiscard]] bool is_first() const { return rank() == 0; }
  [[nodiscard]] exec::RankLinks links() const {
    return {.lane = lane_.get(), .agreement = world_.get(), .group = group_.get(), .replicas = replicas_.get()};
  }
  [[nodiscard]] collective::Communicator& world() const { return *world_; }

  [[nodiscard]] std::int64_t sum(std::int64_t value) const;
  [[nodiscard]] std::int64_t max(std::int64_t value) const;
  [[nodiscard]] std::int64_t min(std::int64_t value) const { return -max(-value); }
  /// One of each rank, in their order.
  [[nodiscard]] std::vector<double> collect(double value) const;
  [[nodiscard]] std::vector<std::string> collect(std::string text) const;
  /// Rank 0's text, on all.
  [[nodiscard]] std::string share(std::string text) const;
  /// `work` on rank 0, then on the others: what rank 0 leaves in files is there for them.
  void first_then_others(const std::function<void()>& work) const;

  /// Bytes that this rank has sent so far: all, and of those what went to ranks outside its group.
  [[nodiscard]] std::int64_t bytes_sent() const;
  [[nodiscard]] std::int64_t bytes_sent_across_groups() const;

 private:
  std::unique_ptr<collective::Communicator> world_, lane_, group_, replicas_;
  int per_node_ = 1;
};

/// What one rank of several may use of its machine: `--host-memory`, `--disk-memory` and `--threads` are of all ranks
/// of a machine together. `nproc` becomes the number of ranks of the job, all nodes included.
[[nodiscard]] recipe::Settings settings_of_rank(recipe::Settings settings, const collective::Place& place);

}  // namespace sluice::train
