// A disk that fails at any read or write of a training run: one IoError, every thread joined, and the process goes on.
#include <gtest/gtest.h>

#include "base/fail_point.h"
#include "exec/small_training.h"

namespace sluice::exec {
namespace {

class FailingDisk : public testing::TestWithParam<const char*> {
 protected:
  void TearDown() override { set_fail_points(""); }
};

TEST_P(FailingDisk, EndsTheRunWithAnIoErrorAndTheNextRunHasTheSameBits) {
  const TracedWork work(Workload{.tied = true, .accumulation = 2});
  Place place{.store = "disk"};
  place.capacity = work.floor(place);
  const Outcome expected = Training(work, {}).run();
  for (const int call : {1, 2, 5, 11, 20, 33}) {
    Training training(work, place);
    set_fail_points(std::string(GetParam()) + "@" + std::to_string(call) + "=EIO");
    EXPECT_THROW(training.run(), IoError) << "call " << call;
    EXPECT_THROW(training.executor().drain(), IoError) << "the error is forgotten";
    set_fail_points("");
  }
  EXPECT_TRUE(Training(work, place).run() == expected);
}

TEST_P(FailingDisk, ThatOnlyInterruptsChangesNothing) {
  const TracedWork work(Workload{.tied = true});
  Place place{.store = "disk"};
  place.capacity = work.floor(place);
  const Outcome expected = Training(work, {}).run();
  Training training(work, place);
  set_fail_points(std::string(GetParam()) + "@3=EINTR," + GetParam() + "@7=SHORT," + GetParam() + "@9=EAGAIN");
  EXPECT_TRUE(training.run() == expected);
}

INSTANTIATE_TEST_SUITE_P(Points, FailingDisk,
                         testing::Values("disk.read", "disk.write", "disk.complete_read", "disk.complete_write"),
                         [](const auto& shown) {
                           std::string name = shown.param;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

}  // namespace
}  // namespace sluice::exec
