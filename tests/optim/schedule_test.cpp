#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <bit>
#include <fstream>
#include <string>

namespace sluice::optim {
namespace {

TEST(Schedule, GivesTransformersRates) {
  std::ifstream in(std::string(SLUICE_TEST_DATA) + "/optim/schedules.txt");
  std::string name;
  ScheduleOptions options;
  int num_cases = 0;
  while (in >> name >> options.lr >> options.warmup_steps >> options.max_steps >> options.min_lr_rate) {
    ++num_cases;
    for (std::int64_t iteration = 0; iteration < options.max_steps; ++iteration) {
      std::uint64_t bits = 0;
      in >> std::hex >> bits >> std::dec;
      EXPECT_DOUBLE_EQ(schedule_lr(name, options, iteration), std::bit_cast<double>(bits))
          << name << " warm-up " << options.warmup_steps << " of " << options.max_steps << " at " << iteration;
    }
  }
  EXPECT_EQ(num_cases, 20);
}

TEST(Schedule, ConstantHonoursWarmup) {
  const ScheduleOptions options{.lr = 1, .warmup_steps = 4, .max_steps = 10};
  for (std::int64_t iteration = 0; iteration < 10; ++iteration)
    EXPECT_EQ(schedule_lr("constant", options, iteration), schedule_lr("constant_with_warmup", options, iteration));
  EXPECT_EQ(schedule_lr("constant", options, 0), 0);
  EXPECT_EQ(schedule_lr("constant", options, 2), 0.5);
}

TEST(Schedule, StaysAtItsLowestPastTheEnd) {
  const ScheduleOptions options{.lr = 1, .warmup_steps = 2, .max_steps = 10, .min_lr_rate = 0.25};
  for (const std::int64_t iteration : {10, 15, 30}) {
    EXPECT_EQ(schedule_lr("linear", options, iteration), 0);
    EXPECT_EQ(schedule_lr("cosine", options, iteration), 0);
    EXPECT_EQ(schedule_lr("cosine_with_min_lr", options, iteration), 0.25);
  }
}

TEST(Schedule, RefusesAnUnknownName) { EXPECT_THROW(schedule_lr("cosin", {}, 0), ConfigError); }

}  // namespace
}  // namespace sluice::optim
