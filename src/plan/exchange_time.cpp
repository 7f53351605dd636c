#include "plan/exchange_time.h"

#include <algorithm>

namespace sluice::plan {

Seconds exchange_seconds(const Network& network, int num_ranks, Bytes sent, int rounds) {
  const int others = num_ranks - 1;
  if (others < 1) return 0;
  const int here = network.ranks_per_node > 0 ? std::min(network.ranks_per_node - 1, others) : others;
  const auto seconds = [&](const RankLink& link, int peers) {
    const double bytes = static_cast<double>(sent) * peers / others;
    return (link.rate > 0 ? bytes / link.rate : 0.0) + rounds * peers * link.latency;
  };
  return std::max(seconds(network.within_node, here), seconds(network.between_nodes, others - here));
}

}  // namespace sluice::plan
