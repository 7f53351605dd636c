#include "train/sampler.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "base/error.h"

namespace sluice::train {
namespace {

constexpr float kNever = -INFINITY;

// Logits whose softmax is 0.5, 0.25, 0.125, 0.125 for the ids 2, 0, 3, 1.
const std::array<float, 4> kHalves = {std::log(0.25F), std::log(0.125F), std::log(0.5F), std::log(0.125F)};

std::array<double, 4> frequencies(const SamplerOptions& options, std::span<const float> logits) {
  Sampler sampler(options);
  std::array<double, 4> result{};
  constexpr int kDraws = 20000;
  for (int position = 0; position < kDraws; ++position)
    result[static_cast<std::size_t>(sampler.pick(logits, position))] += 1.0 / kDraws;
  return result;
}

void expect_near(const std::array<double, 4>& got, const std::array<double, 4>& wanted) {
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], wanted[i] == 0 ? 0 : 0.015) << i;
}

TEST(Sampler, DrawsByTheSoftmaxOfTheLogits) { expect_near(frequencies({}, kHalves), {0.25, 0.125, 0.5, 0.125}); }

TEST(Sampler, TemperatureZeroTakesTheLikeliestAndTheLowerIdOfEquals) {
  Sampler sampler({.temperature = 0});
  EXPECT_EQ(sampler.pick(kHalves, 7), 2);
  EXPECT_EQ(sampler.pick(std::array{1.0F, 3.0F, 3.0F}, 7), 1);
}

TEST(Sampler, TemperatureSharpensAndFlattens) {
  expect_near(frequencies({.temperature = 0.5}, kHalves), {4.0 / 22, 1.0 / 22, 16.0 / 22, 1.0 / 22});
  expect_near(frequencies({.temperature = 1e-9}, kHalves), {0, 0, 1, 0});
  expect_near(frequencies({.temperature = 1e9}, kHalves), {0.25, 0.25, 0.25, 0.25});
}

TEST(Sampler, TopKKeepsTheKLikeliestAndRanksEqualsById) {
  expect_near(frequencies({.top_k = 2}, kHalves), {1.0 / 3, 0, 2.0 / 3, 0});
  expect_near(frequencies({.top_k = 3}, kHalves), {2.0 / 7, 1.0 / 7, 4.0 / 7, 0});
  expect_near(frequencies({.top_k = 100}, kHalves), {0.25, 0.125, 0.5, 0.125});
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  expect_near(frequencies({.top_p = 0.5}, kHalves), {0, 0, 1, 0});
  expect_near(frequencies({.top_p = 0.6}, kHalves), {1.0 / 3, 0, 2.0 / 3, 0});
  expect_near(frequencies({.top_p = 1e-12}, kHalves), {0, 0, 1, 0});
}

TEST(Sampler, TopPCountsWithinTopK) {
  // Of the two likeliest, the first alone makes up two thirds.
  expect_near(frequencies({.top_k = 2, .top_p = 0.66}, kHalves), {0, 0, 1, 0});
}

TEST(Sampler, NeverDrawsTheImpossible) {
  expect_near(frequencies({}, std::array{kNever, 0.0F, kNever, 0.0F}), {0, 0.5, 0, 0.5});
}

TEST(Sampler, IsAFunctionOfSeedAndPosition) {
  const std::array<float, 64> flat{};
  Sampler first({.seed = 1}), again({.seed = 1}), other({.seed = 2});
  std::vector<int> a, b, c;
  for (int position = 0; position < 32; ++position) a.push_back(first.pick(flat, position));
  for (int position = 31; position >= 0; --position) b.insert(b.begin(), again.pick(flat, position));
  for (int position = 0; position < 32; ++position) c.push_back(other.pick(flat, position));
  EXPECT_EQ(a, b);
  EXPECT_NE(a, c);
}

TEST(Sampler, SurvivesHugeLogits) {
  expect_near(frequencies({}, std::array{3e38F, -3e38F, 0.0F, 3e38F}), {0.5, 0, 0, 0.5});
}

TEST(Sampler, RefusesLogitsThatAreNotNumbers) {
  Sampler sampler({});
  EXPECT_THROW((void)sampler.pick(std::array{0.0F, NAN}, 0), NumericsError);
  EXPECT_THROW((void)sampler.pick(std::array{0.0F, INFINITY}, 0), NumericsError);
  EXPECT_THROW((void)sampler.pick(std::array{kNever, kNever}, 0), NumericsError);
}

TEST(Sampler, RefusesOptionsOutOfRange) {
  EXPECT_THROW(Sampler({.temperature = -1}), ConfigError);
  EXPECT_THROW(Sampler({.temperature = NAN}), ConfigError);
  EXPECT_THROW(Sampler({.top_k = -1}), ConfigError);
  EXPECT_THROW(Sampler({.top_p = 0}), ConfigError);
  EXPECT_THROW(Sampler({.top_p = 1.5}), ConfigError);
}

}  // namespace
}  // namespace sluice::train
