// Weights of 16 bits under every rule: with a master nothing that an update adds is lost, and without one only rounding
// at random keeps updates that are smaller than a unit of the weight.
#include "optim/weight_precision.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <string>

#include "optim/tensor.h"

namespace sluice::optim {
namespace {

constexpr std::size_t kSize = 20 * kBlock + 17;

/// A tensor as loading leaves it.
Tensor loaded(const UpdateRule& rule, const WeightPrecision& precision, const Words& exact, const Shape& shape = {}) {
  Tensor tensor(rule, exact, shape);
  round_loaded(precision, tensor.parameter);
  for (std::size_t s = 0; s < tensor.states.size(); ++s) {
    if (rule.states()[s].start != Start::Weight) continue;
    auto* const to = tensor.states[s].elements.data();
    if (rule.states()[s].format == StateFormat::Low16) {
      lower_halves(exact, {reinterpret_cast<std::uint16_t*>(to), exact.size()});
    } else {
      std::ranges::copy(exact, reinterpret_cast<float*>(to));
    }
  }
  return tensor;
}

void take_steps(const UpdateRule& rule, Tensor& tensor, std::size_t run = 0) {
  for (unsigned step = 1; step <= 4; ++step)
    tensor.update(rule, noise(kSize, 10 + step), {.lr = 1e-3, .weight_decay = 0.1, .step = step, .seed = 5}, run);
}

Words rounded(NumberFormat format, Words values) {
  round_to(format, values);
  return values;
}

bool same_bits(const Words& a, const Words& b) {
  return std::ranges::equal(a, b, {}, Tensor::State::bits, Tensor::State::bits);
}

class WeightsOfEveryRule : public testing::TestWithParam<std::string> {
 protected:
  [[nodiscard]] std::unique_ptr<UpdateRule> plain() const { return make_rule(GetParam(), {}); }
  [[nodiscard]] std::unique_ptr<UpdateRule> with(const WeightPrecision& precision) const {
    return with_weight_precision(plain(), precision);
  }
  const Words initial_ = noise(kSize, 1);
};

TEST_P(WeightsOfEveryRule, FollowTheirMasterWhichIsTheFp32Weight) {
  for (const NumberFormat format : {NumberFormat::Bf16, NumberFormat::Fp16}) {
    const WeightPrecision precision{format, Master::Fp32};
    const auto rule = with(precision), exact_rule = plain();
    Tensor tensor = loaded(*rule, precision, initial_);
    take_steps(*rule, tensor);
    const Words master = tensor.states.back().floats();
    EXPECT_TRUE(same_bits(tensor.parameter, rounded(format, master)));
    EXPECT_FALSE(same_bits(master, initial_));
    if (exact_rule->measuring().passes > 0) continue;  // it measures the rounded weights
    Tensor exact(*exact_rule, initial_);
    take_steps(*exact_rule, exact);
    EXPECT_TRUE(same_bits(master, exact.parameter));
  }
}

TEST_P(WeightsOfEveryRule, AreFp32NumbersTakenApartWithASplitMaster) {
  const WeightPrecision precision{NumberFormat::Bf16, Master::Split};
  const auto rule = with(precision), exact_rule = plain();
  Tensor tensor = loaded(*rule, precision, initial_);
  const auto joined = [&] {
    const auto* low = reinterpret_cast<const std::uint16_t*>(tensor.states.back().elements.data());
    Words values = tensor.parameter;
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = join_weight(values[i], low[i]);
    return values;
  };
  EXPECT_TRUE(same_bits(joined(), initial_));
  take_steps(*rule, tensor);
  for (const float weight : tensor.parameter) ASSERT_EQ(std::bit_cast<std::uint32_t>(weight) & 0xffffU, 0U);
  if (exact_rule->measuring().passes > 0) return;
  Tensor exact(*exact_rule, initial_);
  take_steps(*exact_rule, exact);
  EXPECT_TRUE(same_bits(joined(), exact.parameter));
}

// The matrix; a vector beside it is its master.
TEST_P(WeightsOfEveryRule, OfAMatrixHave8BitsAndItsMasterIsExact) {
  const WeightPrecision precision{NumberFormat::Fp8, Master::Fp32};
  const auto rule = with(precision);
  for (const Shape& shape : {Shape{static_cast<std::int64_t>(kSize), 1}, Shape{}}) {
    Tensor tensor(*rule, initial_, shape);
    std::ranges::copy(initial_, reinterpret_cast<float*>(tensor.states.back().elements.data()));
    const NumberFormat format = format_of(precision.weights, shape.size());
    EXPECT_EQ(format, shape.empty() ? NumberFormat::Fp32 : NumberFormat::Fp8);
    round_to(format, tensor.parameter);
    take_steps(*rule, tensor);
    const Words master = tensor.states.back().floats();
    EXPECT_FALSE(same_bits(master, initial_));
    EXPECT_TRUE(same_bits(tensor.parameter, rounded(format, master)));
  }
}

TEST_P(WeightsOfEveryRule, AreRoundedTheSameHoweverTheTensorIsCut) {
  for (const WeightPrecision& precision :
       {WeightPrecision{NumberFormat::Bf16, Master::None}, WeightPrecision{NumberFormat::Bf16, Master::None, false},
        WeightPrecision{NumberFormat::Fp16, Master::None}, WeightPrecision{NumberFormat::Bf16, Master::Split}}) {
    const auto rule = with(precision);
    Tensor whole = loaded(*rule, precision, initial_), cut = loaded(*rule, precision, initial_);
    take_steps(*rule, whole);
    take_steps(*rule, cut, 2 * kBlock);
    EXPECT_TRUE(same_bits(whole.parameter, rounded(precision.weights, whole.parameter)));
    if (rule->measuring().passes == 0) EXPECT_TRUE(same_bits(whole.parameter, cut.parameter));
  }
}

INSTANTIATE_TEST_SUITE_P(Catalog, WeightsOfEveryRule, testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (const auto& row : rule_catalog()) names.emplace_back(row.name);
                           return names;
                         }()),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

// A weight of 1 under steps of 1e-4, a fortieth of bf16's unit there.
TEST(WeightsWithoutMaster, KeepSmallUpdatesOnlyWhenRoundedAtRandom) {
  const auto mean_after = [](bool stochastic) {
    const WeightPrecision precision{NumberFormat::Bf16, Master::None, stochastic};
    const auto rule = with_weight_precision(make_rule("sgd", {}), precision);
    Tensor tensor(*rule, Words(20'000, 1.0F));
    for (std::int64_t step = 1; step <= 200; ++step)
      tensor.update(*rule, Words(20'000, 1.0F), {.lr = 1e-4, .step = step, .seed = 3});
    double sum = 0;
    for (const float weight : tensor.parameter) sum += weight;
    return sum / static_cast<double>(tensor.parameter.size());
  };
  EXPECT_NEAR(mean_after(true), 0.98, 5e-4);
  EXPECT_EQ(mean_after(false), 1.0);
}

TEST(SplitMaster, IsExactForEveryKindOfNumber) {
  for (const float exact :
       {0.0F, -0.0F, 1.0F, -1.0F, 1.0F + 0x1p-8F, 1.0F + 0x1.8p-8F, -3.0F - 0x1p-22F, 1e-45F, 0x1.fep100F})
    EXPECT_EQ(std::bit_cast<std::uint32_t>(join_weight(high_half(exact), low_half(exact))),
              std::bit_cast<std::uint32_t>(exact));
}

}  // namespace
}  // namespace sluice::optim
