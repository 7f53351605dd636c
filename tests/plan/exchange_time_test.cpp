// Exchanges over links of two speeds: what goes over which, and which of them decides.
#include "plan/exchange_time.h"

#include <gtest/gtest.h>

namespace sluice::plan {
namespace {

constexpr RankLink kFast = {.rate = 1000, .latency = 0.25}, kSlow = {.rate = 100, .latency = 0.5};

TEST(ExchangeTime, OfOneNodeIsThatOfItsLink) {
  const Network network = {.within_node = kFast, .between_nodes = kSlow};
  EXPECT_DOUBLE_EQ(exchange_seconds(network, 4, 3000, 1), 3 + 3 * 0.25);
  EXPECT_DOUBLE_EQ(exchange_seconds(network, 4, 3000, 2), 3 + 6 * 0.25);
  EXPECT_DOUBLE_EQ(exchange_seconds(network, 1, 0, 1), 0);
}

// Two nodes of two: a third of the bytes goes to the neighbour, two thirds leave the node.
TEST(ExchangeTime, TheSlowerLinkDecides) {
  Network network = {.within_node = kFast, .between_nodes = kSlow, .ranks_per_node = 2};
  EXPECT_DOUBLE_EQ(exchange_seconds(network, 4, 3000, 1), 20 + 2 * 0.5);
  network.between_nodes.rate = 1e9;
  network.within_node.rate = 10;
  EXPECT_DOUBLE_EQ(exchange_seconds(network, 4, 3000, 1), 100 + 0.25);
}

TEST(ExchangeTime, MoreNodesNeverMakeItFaster) {
  for (const int ranks : {2, 8, 64}) {
    Seconds before = 0;
    for (int per_node = ranks; per_node >= 1; per_node /= 2) {
      const Network network = {.within_node = kFast, .between_nodes = kSlow, .ranks_per_node = per_node};
      const Seconds seconds = exchange_seconds(network, ranks, 64000, 1);
      EXPECT_GE(seconds, before) << ranks << " ranks, " << per_node << " a node";
      before = seconds;
    }
  }
}

}  // namespace
}  // namespace sluice::plan
