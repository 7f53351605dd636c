#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

namespace sluice::optim {
namespace {

using Json = nlohmann::json;

Json golden_cases() {
  std::ifstream in(std::string(SLUICE_TEST_DATA) + "/optim/schedules.json");
  return Json::parse(in);
}

TEST(Schedule, GivesTheRatesOfTransformersDeepSpeedAndMegatron) {
  std::set<std::string> names;
  for (const Json& golden : golden_cases()) {
    const auto name = golden.at("name").get<std::string>();
    names.insert(name);
    ScheduleOptions options{
        .lr = golden.at("lr"), .warmup_steps = golden.at("warmup"), .max_steps = golden.at("max_steps")};
    for (const auto& [key, text] : golden.at("options").items()) options.options[key] = text;
    std::int64_t iteration = 0;
    for (const Json& rate : golden.at("rates")) {
      const double expected = std::strtod(rate.get<std::string>().c_str(), nullptr);
      // A logarithm or a power may differ in the last bit between libraries.
      EXPECT_NEAR(schedule_lr(name, options, iteration), expected, 4e-16 * options.lr + 1e-15 * expected)
          << name << " " << golden.at("options") << " warm-up " << options.warmup_steps << " at " << iteration;
      ++iteration;
    }
  }
  for (const ScheduleRow& row : schedule_catalog()) EXPECT_EQ(names.count(std::string(row.name)), 1U) << row.name;
}

// deepspeed/runtime/lr_schedules.py, OneCycle.get_mom: the constructor sets the lowest, the first step() the first of
// the cycle.
TEST(Schedule, OneCycleCyclesBetasAgainstTheRate) {
  ScheduleOptions options{.lr = 1, .max_steps = 20};
  options.options = {{"cycle_min_lr", "0"},      {"cycle_first_step_size", "2"}, {"cycle_second_step_size", "4"},
                     {"cycle_momentum", "true"}, {"cycle_min_mom", "0.5"},       {"cycle_max_mom", "0.75"},
                     {"decay_step_size", "2"},   {"decay_mom_rate", "0.25"}};
  const std::vector<double> expected = {0.5, 0.625, 0.5, 0.5625, 0.625, 0.6875, 0.75, 0.84375, 0.9375};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto betas = schedule_betas("one_cycle", options, static_cast<std::int64_t>(i));
    ASSERT_TRUE(betas.has_value());
    EXPECT_NEAR(betas->beta1, expected[i], 1e-15) << i;
    EXPECT_EQ(betas->beta2, 0.99);
  }
  options.options["decay_step_size"] = "0";
  EXPECT_EQ(schedule_betas("one_cycle", options, 100)->beta1, 0.75);
  options.options["cycle_momentum"] = "false";
  EXPECT_FALSE(schedule_betas("one_cycle", options, 1).has_value());
  EXPECT_FALSE(schedule_betas("cosine", {.lr = 1, .max_steps = 20}, 1).has_value());
}

TEST(Schedule, ConstantHonoursWarmup) {
  const ScheduleOptions options{.lr = 1, .warmup_steps = 4, .max_steps = 10};
  for (std::int64_t iteration = 0; iteration < 10; ++iteration)
    EXPECT_EQ(schedule_lr("constant", options, iteration), schedule_lr("constant_with_warmup", options, iteration));
  EXPECT_EQ(schedule_lr("constant", options, 0), 0);
  EXPECT_EQ(schedule_lr("constant", options, 2), 0.5);
}

TEST(Schedule, StaysAtItsLowestPastTheEnd) {
  ScheduleOptions options{.lr = 1, .warmup_steps = 2, .max_steps = 10};
  for (const std::int64_t iteration : {10, 15, 30}) {
    options.options = {};
    for (const char* name : {"linear", "cosine", "cosine_with_restarts"})
      EXPECT_EQ(schedule_lr(name, options, iteration), 0) << name;
    options.options = {{"min_lr_rate", "0.25"}};
    for (const char* name : {"cosine_with_min_lr", "cosine_warmup_with_min_lr"})
      EXPECT_EQ(schedule_lr(name, options, iteration), 0.25) << name;
    options.options = {{"lr_end", "0.125"}};
    EXPECT_EQ(schedule_lr("polynomial", options, iteration), 0.125);
  }
}

TEST(Schedule, IsFiniteAndNotNegativeAtEveryStepOfEveryLength) {
  for (const ScheduleRow& row : schedule_catalog()) {
    ScheduleOptions options{.lr = 1e-3};
    if (row.name == "one_cycle") options.options = {{"cycle_min_lr", "1e-5"}};
    if (row.name.find("min_lr") != std::string_view::npos) options.options = {{"min_lr", "1e-5"}};
    for (options.max_steps = 1; options.max_steps < 20; ++options.max_steps) {
      for (options.warmup_steps = 0; options.warmup_steps <= options.max_steps; ++options.warmup_steps) {
        for (std::int64_t iteration = 0; iteration < options.max_steps + 5; ++iteration) {
          const double rate = schedule_lr(row.name, options, iteration);
          ASSERT_TRUE(rate >= 0 && rate <= 1.1e-3)
              << row.name << " " << options.max_steps << " " << options.warmup_steps << " at " << iteration;
        }
      }
    }
  }
}

TEST(Schedule, RefusesAnUnknownName) { EXPECT_THROW(schedule_lr("cosin", {}, 0), ConfigError); }

TEST(Schedule, RefusesOptionsThatItDoesNotDeclareNeedsOrCannotTake) {
  const auto message = [](std::string_view name, const GivenOptions& given) {
    try {
      schedule_lr(name, {.lr = 1e-3, .max_steps = 10, .options = given}, 5);
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(message("linear", {{"power", "2"}}).find("linear has no option 'power'"), std::string::npos);
  EXPECT_NE(message("polynomial", {{"powr", "2"}}).find("did you mean 'power'"), std::string::npos);
  EXPECT_NE(message("polynomial", {{"lr_end", "1"}}).find("cannot end above its peak"), std::string::npos);
  EXPECT_NE(message("cosine_with_min_lr", {}).find("none"), std::string::npos);
  EXPECT_NE(message("cosine_with_min_lr", {{"min_lr", "0"}, {"min_lr_rate", "0"}}).find("both"), std::string::npos);
  EXPECT_NE(message("wsd", {{"decay_style", "cubic"}}).find("linear|cosine|exponential|minus_sqrt"), std::string::npos);
  EXPECT_NE(message("wsd", {{"min_lr", "1"}}).find("above its peak"), std::string::npos);
  EXPECT_NE(message("one_cycle", {}).find("needs its lowest rate"), std::string::npos);
  EXPECT_NE(message("one_cycle", {{"cycle_min_lr", "0"}, {"cycle_min_mom", "1"}}).find("cycle_min_mom < 1"),
            std::string::npos);
}

}  // namespace
}  // namespace sluice::optim
