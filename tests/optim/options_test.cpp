#include "optim/options.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace sluice::optim {
namespace {

constexpr OptionSpec kSpecs[] = {{"rate", 0.5, 0, 1},
                                 {"shift", 0, -kUnlimited},
                                 {"steps", kNotGiven, 1},
                                 {.name = "nesterov", .choices = kSwitch},
                                 {.name = "style", .fallback = 1, .choices = "linear|cosine|sqrt"}};

OptionValues read(const GivenOptions& given) { return {"optimizer", "test", kSpecs, given}; }

TEST(Options, AreDefaultsUntilGiven) {
  const OptionValues defaults = read({});
  EXPECT_EQ(defaults["rate"], 0.5);
  EXPECT_FALSE(defaults.given("steps"));
  EXPECT_EQ(defaults["nesterov"], 0);
  EXPECT_EQ(defaults.choice("style"), "cosine");
  const OptionValues given =
      read({{"rate", "1e-3"}, {"shift", "-2"}, {"steps", "7"}, {"nesterov", "yes"}, {"style", "sqrt"}});
  EXPECT_EQ(given["rate"], 1e-3);
  EXPECT_EQ(given["shift"], -2);
  EXPECT_EQ(given["steps"], 7);
  EXPECT_EQ(given["nesterov"], 1);
  EXPECT_EQ(given.choice("style"), "sqrt");
  EXPECT_FALSE(read({{"steps", "none"}}).given("steps"));
}

TEST(Options, RefuseWhatIsUnknownOrNoValueOrOutOfRange) {
  for (const auto& [name, text] : GivenOptions{
           {"rates", "0.5"}, {"rate", "1"}, {"shift", "x"}, {"steps", "0"}, {"nesterov", "2"}, {"style", "cubic"}})
    EXPECT_THROW(read({{name, text}}), ConfigError) << name;
  for (const char* text : {"", "nan", "inf", "-0.1", "0.5 ", "0,5", "none"})
    EXPECT_THROW(read({{"rate", text}}), ConfigError) << text;
}

TEST(Options, DescribeThemselvesWithDefaults) {
  EXPECT_EQ(describe_options(kSpecs), "rate=0.5, shift=0, steps=none, nesterov=false, style=cosine");
}

}  // namespace
}  // namespace sluice::optim
