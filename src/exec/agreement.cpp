#include "exec/agreement.h"

#include <cstring>
#include <type_traits>

namespace sluice::exec {

static_assert(std::is_trivially_copyable_v<optim::SquareSum>);

void Agreement::start_period(std::size_t num_micro_batches) {
  losses_.assign(num_micro_batches, 0.0);
  norms_.clear();
}

double Agreement::agree(int num_parts) {
  const bool divided = num_parts > 1;
  const std::size_t loss_bytes = losses_.size() * sizeof(double);
  mine_.resize(loss_bytes + norms_.size() * sizeof(optim::SquareSum));
  std::memcpy(mine_.data(), losses_.data(), loss_bytes);
  for (std::size_t n = 0; n < norms_.size(); ++n)
    std::memcpy(mine_.data() + loss_bytes + n * sizeof(optim::SquareSum), &norms_[n].second, sizeof(optim::SquareSum));
  const int num_ranks = ranks_->world_size();
  all_.resize(mine_.size() * num_ranks);
  ranks_->all_gather(mine_.data(), all_.data(), static_cast<std::int64_t>(mine_.size()), collective::ElementType::Byte);
  if (divided) {
    for (auto& [chunk, sum] : norms_) sum = {};
  }
  double loss_sum = 0;
  for (std::size_t m = 0; m < losses_.size(); ++m) {
    for (int rank = 0; rank < num_ranks; ++rank) {
      double loss = 0;
      std::memcpy(&loss, all_.data() + rank * mine_.size() + m * sizeof(double), sizeof(double));
      loss_sum += loss;
    }
  }
  for (int rank = 0; divided && rank < num_parts; ++rank) {
    const std::byte* from = all_.data() + rank * mine_.size() + loss_bytes;
    for (std::size_t n = 0; n < norms_.size(); ++n, from += sizeof(optim::SquareSum)) {
      optim::SquareSum part;
      std::memcpy(&part, from, sizeof(part));
      norms_[n].second.merge(part);
    }
  }
  return loss_sum;
}

}  // namespace sluice::exec
