// What ranks tell each other in a period beside tensors: the norms of their parts and the losses of their
// micro-batches, so that all of them decide alike. Exact sums, and losses in the order of micro-batches, of which ranks
// take turns: one rank with all of them would find the same bits.
#pragma once
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "collective/communicator.h"
#include "optim/norm.h"

namespace sluice::exec {

/// For one thread. Memory grows in the first period.
class Agreement {
 public:
  /// Borrows `ranks` (nullptr: there is one rank, and nothing to agree on).
  explicit Agreement(collective::Communicator* ranks) : ranks_(ranks) {}

  [[nodiscard]] bool is_needed() const { return ranks_ != nullptr; }
  void start_period(std::size_t num_micro_batches);
  void add_loss(std::size_t micro_batch, double loss) { losses_[micro_batch] += loss; }
  void add_norm(int chunk, const optim::SquareSum& sum) { norms_.emplace_back(chunk, sum); }

  /// Collective. The first `num_parts` ranks measured a part of each gradient (the others what some of these did); with
  /// 1 all measured the same whole. Norms added since the last call become those of the whole. Returns the sum of all
  /// ranks' losses so far.
  double agree(int num_parts);
  [[nodiscard]] std::span<const std::pair<int, optim::SquareSum>> norms() const { return norms_; }
  void forget_norms() { norms_.clear(); }

 private:
  collective::Communicator* ranks_;
  std::vector<double> losses_;
  std::vector<std::pair<int, optim::SquareSum>> norms_;  // by chunk
  std::vector<std::byte> mine_, all_;
};

}  // namespace sluice::exec
