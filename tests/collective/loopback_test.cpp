#include "collective/loopback.h"

#include <gtest/gtest.h>

namespace sluice::collective {
namespace {

TEST(Loopback, HasARateAndALatency) {
  const LoopbackRates rates = measure_loopback(4 * MiB);
  EXPECT_GT(rates.rate, 1e6);
  EXPECT_LT(rates.rate, 1e12);
  EXPECT_GT(rates.latency, 0);
  EXPECT_LT(rates.latency, 1);
}

}  // namespace
}  // namespace sluice::collective
