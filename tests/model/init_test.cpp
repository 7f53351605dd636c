#include "model/init.h"

#include <gtest/gtest.h>

#include <cmath>

namespace sluice::model {
namespace {

std::vector<float> values(const ParameterSpec& spec, std::uint64_t seed, std::int64_t first, std::size_t count) {
  std::vector<float> out(count);
  init_parameter(spec, seed, first, out);
  return out;
}

const ParameterSpec kWeight{"model.layers.0.mlp.up_proj.weight", {100, 1000}, ParameterSpec::Init::Normal, 0.02};

TEST(InitParameter, AnySliceEqualsThatSliceOfTheWhole) {
  const auto whole = values(kWeight, 7, 0, 1000);
  for (const std::int64_t first : {0, 1, 2, 3, 4, 501}) {
    const auto slice = values(kWeight, 7, first, 37);
    for (std::size_t i = 0; i < slice.size(); ++i) ASSERT_EQ(slice[i], whole[static_cast<std::size_t>(first) + i]);
  }
}

TEST(InitParameter, DependsOnSeedAndName) {
  ParameterSpec other = kWeight;
  other.name = "model.layers.1.mlp.up_proj.weight";
  EXPECT_NE(values(kWeight, 7, 0, 16), values(kWeight, 8, 0, 16));
  EXPECT_NE(values(kWeight, 7, 0, 16), values(other, 7, 0, 16));
}

TEST(InitParameter, HasTheAskedMeanAndSpread) {
  const auto whole = values(kWeight, 3, 0, 100000);
  double sum = 0, squares = 0;
  for (const float value : whole) {
    sum += value;
    squares += static_cast<double>(value) * value;
  }
  const double n = static_cast<double>(whole.size());
  EXPECT_NEAR(sum / n, 0, 4 * 0.02 / std::sqrt(n));
  EXPECT_NEAR(std::sqrt(squares / n), 0.02, 0.0002);
}

TEST(InitParameter, NormsAreOnesAndBiasesZeros) {
  EXPECT_EQ(values({"n", {8}, ParameterSpec::Init::Ones, 0}, 1, 3, 5), std::vector<float>(5, 1.0F));
  EXPECT_EQ(values({"b", {8}, ParameterSpec::Init::Zeros, 0}, 1, 3, 5), std::vector<float>(5, 0.0F));
}

}  // namespace
}  // namespace sluice::model
