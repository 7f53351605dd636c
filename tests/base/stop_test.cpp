#include "base/stop.h"

#include <gtest/gtest.h>
#include <signal.h>

namespace sluice {
namespace {

TEST(Stop, CountsSignalsAndRequests) {
  install_stop_handlers();
  const int before = stop_requests();
  raise(SIGTERM);
  raise(SIGTERM);
  raise(SIGINT);
  request_stop();
  EXPECT_EQ(stop_requests(), before + 4);
}

TEST(StopDeathTest, ASecondInterruptEndsTheProcessWith130) {
  EXPECT_EXIT(
      {
        install_stop_handlers();
        raise(SIGINT);
        raise(SIGINT);
      },
      testing::ExitedWithCode(130), "");
}

}  // namespace
}  // namespace sluice
